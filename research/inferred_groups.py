"""How near the groups that the product infers come to the true ones, and what a report concludes from them.

    python -m research.inferred_groups [--data FOLDER] [--sets background …] [--seeds 0 1 2] [--rows FILE]

Sets, features and heads are those of `research.rivals`; true groups are class × place. The finder sees the
training images, and the judges that it leaves divide the test half, as in a job whose data set has no groups.
Wrong labels are drawn at random, in training and test alike. Prints four tables:

1. The worst group of control and head by true and by inferred groups: on the test half, which is balanced,
   and on ten draws of it that have the shortcut in 95 % of each class, as those of users do.
2. The same with wrong labels, and how many of these are named.
3. Verdicts by inferred groups where nothing is to be found: 21 cuts without a shortcut, and class and place
   exchanged. A gate that somebody forced open has no verdict in the product; here it is what it would be.
4. The recommended model beside ERM.

Rows are appended to the file of `--rows`, and those that it has are not measured again. Ends with one JSON
line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks._common import Aim, finish, make_run, table, work_folder
from models.runtime.process import prepare_process
from models.statistics import clopper_pearson
from research._inferred import BEFORE, CONTROL, HEAD, Gate, Row, measure, rows_by
from research.rivals.cases import add_sets, parse
from research.rivals.features import FeatureCache
from research.rivals.sets import COLOURED_DIGITS, NO_SHORTCUT, OWN_SHARE, PLANTS, Case, read_cases

_FLIPS = (0.05, 0.1)  # shares of wrong labels
_TELLS = ("helped", "hurt")
Table = tuple[list[Row], dict[str, Aim]]


def main() -> int:
    arguments = _arguments()
    prepare_process(arguments.threads)
    rows = _read(arguments.rows)
    known = {_key(row) for row in rows}
    with work_folder(arguments.cache) as folder:
        cache = FeatureCache(folder)
        for kind in arguments.sets:
            for case in read_cases(kind, arguments.data, cache, seeds=arguments.seeds, quick=arguments.quick):
                for flips, gate, only in _settings(case):
                    row: Row = {"set": case.kind, "share": case.share, "repeat": case.repeat}
                    row |= {"flips": flips, "gate": gate, "only": only}
                    if _key(row) not in known:
                        rows.append(row | measure(case, flips=flips, gate=gate, only=only))
                        _write(rows[-1], arguments.rows)
    aims: dict[str, Aim] = {}
    for summarise in (_worst_groups, _wrong_labels, _verdicts, _recommended):
        lines, reached = summarise(rows)
        aims |= reached
        if lines:
            print(table(lines), end="\n\n", flush=True)
    return finish("inferred_groups", make_run("cpu", arguments.seeds[0], "groups"), rows=rows, aims=aims)


def _settings(case: Case) -> Iterator[tuple[float, Gate, int | None]]:
    """Shares of wrong labels, gates, and the class that alone has them."""
    yield 0.0, "auto", None
    if case.kind in PLANTS and case.share == OWN_SHARE:
        yield from ((flips, "auto", None) for flips in _FLIPS)
        yield from ((_FLIPS[1], "auto", only) for only in (0, 1))
    if case.kind in PLANTS and case.share == NO_SHORTCUT:
        yield _FLIPS[0], "auto", None
        if not case.gate_only:
            yield from ((flips, "open", None) for flips in (0.0, _FLIPS[0]))


# --- the tables -----------------------------------------------------------------------------------


def _worst_groups(rows: Sequence[Row]) -> Table:
    """Plants with a shortcut and right labels."""
    cells = [row for row in rows if row["set"] in PLANTS and row["share"] != NO_SHORTCUT and not row["flips"]]
    lines = []
    for mine in rows_by(cells, "set", "share"):
        decided = [row for row in mine if row["decides"]]
        line = _name(mine) | {"inferred": f"{len(decided)} of {len(mine)}"}
        for called, arm in (("control", CONTROL), ("head", HEAD)):
            line[f"{called}: true"] = _mean(row[f"{arm} worst"] for row in decided)
            line[f"{called}: inferred"] = _mean(row[f"{arm} inferred"] for row in decided)
            line[f"{called}: largest error"] = max(
                (abs(error) for error in _errors(decided, arm)), default=None
            )
            line[f"{called}: error at 95 %"] = _mean(map(abs, _errors_as_users_have(decided, arm)))
        lines.append(line | {"same verdict": f"{sum(map(_agrees, mine))} of {sum(map(_told, mine))}"})
    errors = [abs(error) for arm in (CONTROL, HEAD) for error in _errors(cells, arm)]
    of_users = [abs(error) for arm in (CONTROL, HEAD) for error in _errors_as_users_have(cells, arm)]
    told = [row for row in cells if _told(row)]
    aims = {}
    if errors:
        aims["worst group, balanced: largest error"] = Aim(max(errors), at_most=0.02)
        aims["worst group, 95 % at their place: mean size of the error"] = Aim(_mean(of_users), at_most=0.02)
    if told:
        aims["the verdict of true groups"] = Aim(_mean(_agrees(row) for row in told), at_least=0.9)
    return lines, aims


def _errors(rows: Sequence[Row], arm: str) -> list[float]:
    return [row[f"{arm} inferred"] - row[f"{arm} worst"] for row in rows if row["decides"]]


def _errors_as_users_have(rows: Sequence[Row], arm: str) -> list[float]:
    return [error for row in rows for error in row.get(f"{arm} as users have", [])]


def _told(row: Row) -> bool:
    return row["true verdict"] in _TELLS


def _agrees(row: Row) -> bool:
    return _told(row) and row["verdict"] == row["true verdict"]


def _wrong_labels(rows: Sequence[Row]) -> Table:
    """Plants at 95 %: the worst group by true groups of true labels, and what is named."""
    cells = [row for row in rows if row["set"] in PLANTS and row["share"] == OWN_SHARE]
    lines, losses, precisions, altered_by_one = [], [], [], 0
    for mine in rows_by(cells, "set", "flips", "only"):
        only = mine[0]["only"]
        where = "" if only is None else f" of class {only}"
        line: Row = {"set": mine[0]["set"], "wrong labels": f"{mine[0]['flips']:.0%}{where}"}
        line |= {"head": _mean(row[f"{HEAD} worst"] for row in mine)}
        for called, arm in (("control", CONTROL), ("head", HEAD)):
            line[f"{called}: error"] = _mean(_errors(mine, arm)) if mine[0]["decides"] else None
        for split in ("train", "test"):
            wrong, named, both, listed, hits = np.mean([row[f"{split} labels"] for row in mine], axis=0)
            line[f"{split}: named, wrong"] = f"{both:.0f} of {named:.0f}, {wrong:.0f}"
            line[f"{split}: first"] = f"{hits:.0f} of {listed:.0f}"
        lines.append(line | {"true minority lost": _mean(row["minority lost"] for row in mine)})
        altered = sum(row["altered"] for row in mine)
        lines[-1]["weights changed"] = f"{altered} of {len(mine)}"
        if only is not None:
            altered_by_one += altered
        elif mine[0]["flips"]:
            without = [row for row in cells if row["set"] == mine[0]["set"] and not row["flips"]]
            losses.append(_mean(row[f"{HEAD} worst"] for row in without) - line["head"])
            precisions += [row["train labels"][4] / max(row["train labels"][3], 1) for row in mine]
    if not losses:
        return lines, {}
    lost = max(row["minority lost"] for row in cells if not row["flips"])
    return lines, {
        "worst group lost by wrong labels": Aim(max(losses), at_most=0.03),
        "wrong, of the first hundred named": Aim(min(precisions), at_least=0.85),
        "true minority lost without wrong labels": Aim(lost, at_most=0.02),
        "weights changed by wrong labels of one class": Aim(altered_by_one, at_most=0),
    }


def _verdicts(rows: Sequence[Row]) -> Table:
    """Where nothing is to be found."""
    cells = [
        row
        for row in rows
        if (row["set"] in PLANTS and row["share"] == NO_SHORTCUT) or row["set"].endswith("swapped")
    ]
    lines = []
    for mine in (*rows_by(cells, "gate", "flips"), *rows_by(cells, "gate")):
        told = sum(row["verdict"] in _TELLS for row in mine)
        flips = dict.fromkeys(f"{row['flips']:.0%}" for row in mine)
        line: Row = {"gate": mine[0]["gate"], "wrong labels": " or ".join(flips), "sets": len(mine)}
        line |= {"opened": sum(row["is_divided"] for row in mine)}
        line |= {"verdicts by inferred groups": sum(row["verdict"] is not None for row in mine)}
        line |= {verdict: sum(row["verdict"] == verdict for row in mine) for verdict in _TELLS}
        lines.append(line | {"at most": float(clopper_pearson(told, len(mine), confidence=0.95)[1])})
    shipped = [row["verdict"] in _TELLS for row in cells if row["gate"] == "auto"]
    return lines, {"told without a shortcut": Aim(_mean(shipped), at_most=0.05)} if shipped else {}


def _recommended(rows: Sequence[Row]) -> Table:
    """All sets with right labels. Of ten digits the worst of a hundred groups says nothing."""
    cells = [row for row in rows if not row["flips"] and row["gate"] == "auto"]
    grouped = [row for row in cells if row["set"] != COLOURED_DIGITS]
    lines = []
    for mine in rows_by(cells, "set", "share"):
        line = _name(mine) | {"heads": f"{sum(row['recommended'] == HEAD for row in mine)} of {len(mine)}"}
        for called, arms in (
            ("ERM", [BEFORE] * len(mine)),
            ("recommended", [row["recommended"] for row in mine]),
        ):
            for figure in ("average", "worst"):
                line[f"{called}: {figure}"] = _mean(
                    row[f"{arm} {figure}"] for row, arm in zip(mine, arms, strict=True)
                )
        line["average below"] = _below(mine, "accuracy")
        line["worst below"] = _below(mine, "worst_group_accuracy")
        lines.append(line | {"true minority lost": _mean(row["minority lost"] for row in mine)})
    aims = {}
    for called, statistic, mine in (
        ("average", "accuracy", cells),
        ("worst group", "worst_group_accuracy", grouped),
    ):
        if mine:
            aims[f"{called} below ERM's"] = Aim(_below(mine, statistic) / len(mine), at_most=0.05)
            gain = _mean(row[f"{statistic} gained"][0] for row in mine)
            aims[f"{called} gained on ERM"] = Aim(gain, at_least=0.0)
    return lines, aims


def _below(rows: Sequence[Row], statistic: str) -> int:
    """How many intervals of recommended − ERM lie wholly below zero."""
    return sum(row[f"{statistic} gained"][2] < 0 for row in rows)


def _name(rows: Sequence[Row]) -> Row:
    return {"set": rows[0]["set"], "at": f"{rows[0]['share']:.0%}"}


def _mean(figures: Iterator[float] | Sequence[float]) -> float:
    return float(np.mean(every)) if (every := list(figures)) else float("nan")


# --- rows and arguments ---------------------------------------------------------------------------


def _key(row: Row) -> tuple[object, ...]:
    return tuple(row[field] for field in ("set", "share", "repeat", "flips", "gate", "only"))


def _read(file: Path | None) -> list[Row]:
    lines = file.read_text().splitlines() if file is not None and file.exists() else []
    return [json.loads(line) for line in lines]


def _write(row: Row, file: Path | None) -> None:
    """To stderr, and to the end of the file."""
    line = json.dumps(row)
    print(line, file=sys.stderr, flush=True)
    if file is not None:
        with file.open("a") as out:
            out.write(f"{line}\n")


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        "python -m research.inferred_groups", description=__doc__.splitlines()[0]
    )
    add_sets(parser)
    parser.add_argument("--rows", type=Path, help="a file of rows: read, and appended to")
    return parse(parser)


if __name__ == "__main__":
    sys.exit(main())
