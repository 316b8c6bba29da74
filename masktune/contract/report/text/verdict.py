"""The verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from masktune.contract.report import accuracy
from masktune.contract.report.report import Report
from masktune.contract.report.text.data_steps import column_sentence
from masktune.contract.report.text.formats import (
    confidence_level,
    difference_interval,
    more_of_100,
    out_of_100,
    percent,
    percent_interval,
    points,
    points_apart,
    points_interval,
    right_counts,
    sample_count,
)
from masktune.contract.report.text.groups import UNDIVIDED, groups_warning
from masktune.contract.report.text.inferred import lacking_sentence
from masktune.contract.report.text.names import (
    STATISTICS,
    Tone,
    arm_after,
    arm_before,
    capitalised,
    cost_of_control,
    model_name,
    plain_name,
    shared_subjects,
    verdict_title,
    within_sentence,
)
from masktune.contract.report.text.notes import many_empty_masks
from masktune.contract.vocabulary import CONTROLS, Arm


class Verdict(NamedTuple):
    """A verdict in words: what happened, for a reader without statistics, and the figures and the rule that
    it rests on, which are empty if nothing was compared. `next_steps` says what to do.
    """

    tone: Tone
    title: str
    sentence: str
    figures: str
    rule: str


_NOT_CHANCE = "A difference this large is unlikely to be chance in the test images."
_MEANINGS: dict[accuracy.VerdictName, str] = {
    "helped": _NOT_CHANCE,
    "hurt": _NOT_CHANCE,
    "no_detectable_effect": "These images cannot tell: {interval} points.",
}
_STANDINGS: dict[accuracy.Standing, str] = {
    "above": "That it is better than {rival} is unlikely to be chance in the test images.",
    "below": "That it is worse than {rival} is unlikely to be chance in the test images.",
    "undetected": "Whether it is better than {rival}, these images cannot tell: {interval} points.",
}
_HIDDEN = "These images cannot tell: {interval} points, and a larger difference may be hidden: "
_NOT_TESTABLE: dict[accuracy.NotTestableReason | None, str] = {
    "no_groups": f"{_HIDDEN}no groups say which of these images break a pattern.",
    "one_group": f"{_HIDDEN}those of these images that have a group are all in the same one, so nothing says "
    "which of them break a pattern.",
    "small_groups": f"{_HIDDEN}fewer than two groups have 10 {{counted}} here, which is "
    "too few to compare groups.",
    "few_in_groups": f"{_HIDDEN}the groups that have 10 {{counted}} here hold less than half of these "
    "images.",
    "few_lacking": f"{_HIDDEN}of no class do 10 {{counted}} here lack the pattern.",
    "few_subjects": "They are of too few {counted} to tell whether a difference is chance: {counted} differ, "
    "and fewer than 10 do not show by how much.",
    "one_class": "They are all of one class, and a model that always answers that class is right on them.",
}
"""By reason, to be filled with what counts in a group, images or subjects, and the interval."""
_ONE_TRAINING = " Another training may differ."
"""Said of a whole network; docs/REPORT.md has how far trainings of a last layer differ."""
_LIKE_TRAINING = (
    "images like the training images",
    "That is what giving up a shortcut looks like, and these images cannot tell it from harm.",
)
_UNLIKE_TRAINING = (
    "the test images",
    "They are unlike the validation images, but cannot tell a shortcut that was given up from harm.",
)
"""Which images a model is right on less often, and what that shows."""

_NOTHING_COMPARED = Verdict(
    "neutral",
    "No comparison",
    "This report has no MaskTune model or retrained head to compare with another model on the test split, so "
    "there is nothing to judge. A masktune job trains two more models, with masks and without, and shows "
    "whether the masks helped.",
    "",
    "",
)

_CONTROL_RULES: dict[Arm, str] = {
    Arm.MASKTUNE_CONTROL: "The control had as much further training without masks, so that longer training "
    "alone cannot pass for help.",
    Arm.RETRAINED_CONTROL: "The control has the same last layer refitted without groups, so that refitting "
    "alone cannot pass for help.",
}
_NO_CONTROL_RULE = "There is no control, so what longer training alone would have done is not known."
_ONE_SEED_RULE = (
    "The interval is for these two models on inputs like those of the split; it does not cover another seed."
)
_SEEDS_RULE = "The interval is for training with any seed, on inputs like those of the split."
_INFERRED_RULE = (
    "The groups were inferred: the interval is for the groups as inferred, and does not cover that they may "
    "be wrong."
)
_OTHER_PATTERNS = (
    "It is for the pattern that was found: giving up one can mean leaning on another, which these groups "
    "cannot show."
)
_COLUMN_MEANINGS: dict[accuracy.VerdictName, str] = {
    "helped": "it helped there",
    "hurt": "it hurt there, by more than in the worst class",
    "no_detectable_effect": "no detectable effect there",
}
_COLUMNS_RULE = (
    "By each column of metadata that the import rated strong and whose groups can decide, the same rule "
    "holds, but hurt means that the interval also lies below that of the difference in the worst class: to "
    "give up a pattern costs something in each class. The more such columns, the wider the intervals."
)
_SUBJECTS_RULE = (
    "Images of one {0} are not independent, so the interval takes {0}s as independent, not images. "
    "With fewer than 10 {0}s the verdict is not testable, and a group of fewer decides nothing."
)


def verdict(report: Report, arm: Arm | None = None) -> Verdict:
    """The verdict on the model that the report is about or on that of `arm`, and the difference behind it."""
    decision = report.verdict if arm is None else report.verdicts.get(arm)
    columns = column_sentence(report) if arm is None else ""
    if decision is None:
        why = _undivided(report) or _NOTHING_COMPARED.sentence
        return _NOTHING_COMPARED._replace(sentence=f"{why} {columns}".rstrip())
    leak = shared_subjects(report, decision.split)
    tone, title = verdict_title(decision)
    at_chance, word = decision.at_chance, report.dataset.subject_word
    lacking = lacking_sentence(report) if arm is None and not at_chance else ""
    empty = many_empty_masks(report.masks) if decision.a is Arm.MASKTUNE else ""
    sentence = _guesses(at_chance) if at_chance else _sentence(report, decision)
    by_columns = _by_columns(report, decision)
    return Verdict(
        tone="neutral" if leak and tone == "good" else tone,
        title=title,
        sentence=" ".join(filter(None, (leak, lacking, empty, sentence, by_columns, columns))),
        figures=" ".join(_figures_at_chance(one, word) for one in at_chance) or _figures(report, decision),
        rule=_rule(decision, word) + (f" {_COLUMNS_RULE}" if by_columns else ""),
    )


def other_verdicts(report: Report) -> tuple[Verdict, ...]:
    """Those on the other models that were made against a shortcut."""
    return tuple(verdict(report, arm) for arm in report.verdicts if arm is not arm_after(report))


def _undivided(report: Report) -> str:
    """That the retrained head equals its control, if it does."""
    if report.groups is not None:
        return groups_warning(report.groups)
    return UNDIVIDED if report.judged_job is not None and report.after is Arm.RETRAINED else ""


def _sentence(report: Report, decision: accuracy.Verdict) -> str:
    if decision.reason == "shortcut_or_harm":
        text = _shortcut_or_harm(report, decision)
    else:
        text = _over_seeds(decision) if decision.seeds else _of_two_models(report, decision)
        text += f" {_meaning(report, decision)}"
    if decision.beaten_by is not None:
        text += f" In the worst group, {model_name(decision.beaten_by)} beats {within_sentence(decision.a)}."
    text = " ".join(filter(None, (text, cost_of_control(decision), _as_guessed(report, decision))))
    if decision.b not in CONTROLS:
        text += " No control was trained: equally long training alone might have done as much."
    return text


def _by_columns(report: Report, decision: accuracy.Verdict) -> str:
    """The worst group by each column of metadata that can decide, and whether that is better or worse."""
    return " ".join(
        _by_column(report, column.column, one)
        for column in report.column_shortcuts
        if (one := column.verdicts.get(decision.a)) is not None and one.reason is None
    )


def _by_column(report: Report, column: str, decision: accuracy.Verdict) -> str:
    to_rival, to_erm = decision.deciding_difference, decision.erm_difference
    rivals = (within_sentence(decision.b), to_rival), (plain_name(arm_before(report)), to_erm)
    before = " and ".join(
        f"{percent(one.accuracy_b)} with {rival} ({difference_interval(one)})" for rival, one in rivals if one
    )
    return (
        f"By the column “{column}”, the worst group (class × value) went from {before} to "
        f"{percent(to_rival.accuracy_a)}{f' ({group})' if (group := to_rival.worst_a) else ''}: "
        f"{_COLUMN_MEANINGS[decision.verdict]}."
    )


def _as_guessed(report: Report, decision: accuracy.Verdict) -> str:
    """What a verdict by inferred groups does not cover."""
    if not decision.inferred or report.inferred_groups is None:
        return ""
    precision = report.inferred_groups.precision
    bound = "nobody has looked how many of these images truly lack the pattern."
    if precision is not None:
        bound = (
            f"by {precision.answers:,} answers of a person, at least {percent(precision.low)} of the images "
            "that seem to lack the pattern do."
        )
    text = f"This is for the groups as guessed: {bound}"
    if decision.verdict != "helped":
        return text
    return f"{text} {_OTHER_PATTERNS}"


def _meaning(report: Report, decision: accuracy.Verdict) -> str:
    deciding, to_erm = decision.deciding_difference, decision.erm_difference
    interval = points_interval(deciding.low, deciding.high)
    if decision.verdict == "not_testable":
        if to_erm is not None and decision.against_control != "undetected":
            interval = points_interval(to_erm.low, to_erm.high)
        counted = "images" if deciding.n_subjects is None else f"{report.dataset.subject_word}s"
        return _NOT_TESTABLE[decision.reason].format(counted=counted, interval=interval)
    rivals = (
        (plain_name(arm_before(report)), decision.against_erm, to_erm or deciding),
        ("its control", decision.against_control, deciding),
    )
    if len({standing for _, standing, _ in rivals} - {"absent"}) == 1:
        text = _MEANINGS[decision.verdict].format(interval=interval)
    else:
        text = " ".join(
            _STANDINGS[standing].format(rival=rival, interval=points_interval(one.low, one.high))
            for rival, standing, one in rivals
        )
    is_network = decision.a is Arm.MASKTUNE and report.training_note is None
    return text + (_ONE_TRAINING if is_network and not decision.seeds else "")


def _shortcut_or_harm(report: Report, decision: accuracy.Verdict) -> str:
    """A model that is right less often where no groups can tell a shortcut that was given up from harm."""
    signs = report.shortcut_reliance.signs if report.shortcut_reliance else ()
    shifted = any(sign.name == "shift" and sign.present for sign in signs)
    images, meaning = _UNLIKE_TRAINING if shifted else _LIKE_TRAINING
    of_a, of_b = (report.metrics[decision.split][arm] for arm in (decision.a, decision.b))
    a, b = out_of_100(of_a.balanced_accuracy, of_b.balanced_accuracy)
    of_a_class = "" if (a, b) == out_of_100(of_a.accuracy, of_b.accuracy) else f" images {_which(decision)}"
    text = f"On {images} it is right on {a} of 100{of_a_class} instead of {b}."
    if decision.seeds:
        more = more_of_100(decision.deciding_difference.estimate)
        rival = within_sentence(decision.b)
        text = f"Over {len(decision.seeds)} seeds, it is right on {more} {images} than {rival}."
    return f"{capitalised(within_sentence(decision.a))} was made to give up a pattern. {text} {meaning}"


def _over_seeds(decision: accuracy.Verdict) -> str:
    a, b = within_sentence(decision.a), within_sentence(decision.b)
    more = more_of_100(decision.deciding_difference.estimate)
    return f"Over {len(decision.seeds)} seeds, {a} is right on {more} images {_which(decision)} than {b}."


def _of_two_models(report: Report, decision: accuracy.Verdict) -> str:
    of_arm, word = report.metrics[decision.split], report.dataset.subject_word
    lowest = {
        decision.a: decision.deciding_difference.worst_a,
        decision.b: decision.deciding_difference.worst_b,
    }
    if decision.erm_difference is not None:
        lowest[arm_before(report)] = decision.erm_difference.worst_b
    names, a = [within_sentence(arm) for arm in lowest], of_arm[decision.a]
    hardest = [one for arm, group in lowest.items() if (one := _hardest(of_arm[arm], group)) is not None]
    which = _which(decision)
    if _in_groups(decision) and len(hardest) == len(lowest):
        first, *parts = right_counts(*hardest)
        which += f" ({hardest[0].n:,} images)" if first.endswith("of 100") else ""
    else:
        first, *parts = out_of_100(*(of_arm[arm].balanced_accuracy for arm in lowest))
        first += " of 100"
    of_all, *over_all = right_counts(*(of_arm[arm] for arm in lowest))

    def others(counts: Sequence[str]) -> str:
        return " and ".join(f"{name} on {count}" for name, count in zip(names[1:], counts, strict=True))

    return (
        f"{capitalised(names[0])} is right on {first} images {which}, {others(parts)}. "
        f"Over all {sample_count(a.n, a.n_subjects, f'{decision.split} image', word)}, it is right on "
        f"{of_all}, {others(over_all)}."
    )


def _in_groups(decision: accuracy.Verdict) -> bool:
    return decision.deciding_difference.statistic == "worst_group_accuracy"


def _which(decision: accuracy.Verdict) -> str:
    return "of its hardest group" if _in_groups(decision) else "of a class on average"


def _hardest(of_arm: accuracy.ArmMetrics, name: str | None) -> accuracy.SliceAccuracy | None:
    """The group that decided."""
    return next((group for group in of_arm.groups if group.name == name), None)


def _guesses(models: Sequence[accuracy.ModelAtChance]) -> str:
    names = " and ".join(map(_with_seed, models))
    return (
        f"On the validation images, {names} cannot be told from guessing. A model that has learned nothing "
        "can neither have a shortcut nor lose one."
    )


def _figures(report: Report, decision: accuracy.Verdict) -> str:
    difference, seeds, word = decision.deciding_difference, decision.seeds, report.dataset.subject_word
    rival = within_sentence(decision.b)
    over = f" and over {len(seeds)} seeds" if seeds else ""
    text = (
        f"On {_distinct(difference, word)} of the {decision.split} split{over}, its "
        f"{_statistic(decision)} is {points_apart(difference.estimate)} that of {rival} "
        f"({difference_interval(difference)})"
        f"{_lowest(difference, rival, word)}. Its average accuracy is "
        f"{points_apart(decision.accuracy_difference.estimate)} that of {rival}."
    )
    if (to_erm := decision.erm_difference) is not None:
        text += (
            f" Its {_statistic(decision)} is {points_apart(to_erm.estimate)} "
            f"that of {plain_name(arm_before(report))} "
            f"({difference_interval(to_erm)})."
        )
    if not seeds:
        return text
    each = ", ".join(f"{points(seed.estimate)} with seed {seed.seed}" for seed in seeds)
    return f"{text} The difference that decides, in points: {each}."


def _with_seed(model: accuracy.ModelAtChance) -> str:
    seed = "" if model.seed is None else f" with seed {model.seed}"
    return within_sentence(model.arm) + seed


def _distinct(counted: accuracy.Difference | accuracy.ModelAtChance, word: str) -> str:
    return sample_count(counted.n, counted.n_subjects, "distinct sample", word)


def _figures_at_chance(model: accuracy.ModelAtChance, word: str) -> str:
    return (
        f"On {_distinct(model, word)} of the validation split, the balanced accuracy of "
        f"{_with_seed(model)} is {percent(model.balanced_accuracy)} (95\u00a0% interval "
        f"{percent_interval(model.low, model.high)}); that of a guess is {percent(model.chance)}."
    )


def _lowest(difference: accuracy.Difference, rival: str, word: str) -> str:
    """Name the groups of the worst case, and count those that were too small; "" for other statistics."""
    if difference.worst_a is None:
        return ""
    text = f"; its lowest is {difference.worst_a}, that of {rival} is {difference.worst_b}"
    if not difference.left_out:
        return text
    counted = "samples" if difference.n_subjects is None else f"{word}s"
    return text + f", among groups with at least 10 {counted} ({difference.left_out} have fewer)"


def _rule(decision: accuracy.Verdict, word: str) -> str:
    control = _CONTROL_RULES.get(decision.b, _NO_CONTROL_RULE)
    subjects = "" if decision.deciding_difference.n_subjects is None else f" {_SUBJECTS_RULE.format(word)}"
    inferred = f" {_INFERRED_RULE}" if decision.inferred else ""
    level = confidence_level(decision.deciding_difference.confidence)
    return (
        f"One statistic, chosen beforehand, decides: {_statistic(decision)}. If the {level} intervals of "
        "the differences to plain training and to the control, where there is one, lie above zero, the "
        "verdict is helped. Else groups of the test split must decide: below plain training, or below the "
        "control and not above plain training, it is hurt; otherwise no detectable effect, which is not the "
        "same as no effect. Without such groups, or if a model is no better than a guess on validation, it "
        f"is not testable. {control} "
        f"{_SEEDS_RULE if decision.seeds else _ONE_SEED_RULE}{inferred}{subjects}"
    )


def _statistic(decision: accuracy.Verdict) -> str:
    return STATISTICS[decision.deciding_difference.statistic][0].lower()
