"""Subjects named by paths: what a pattern means, and that no pattern takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data.formats import FormatError, FormatOptions, read
from models.data.formats.owner_options import SubjectPattern
from models.data.report import ProblemCode
from tests.unit.models.data.conftest import MakeTree


@pytest.mark.parametrize(
    ("pattern", "path", "subject"),
    [
        ("*/{subject}_*", "cat/p07_3.png", "p07"),
        ("*/{subject}_*", "cat/p07_3_4.png", "p07"),
        ("*/{subject}_*", "train/cat/p07_3.png", None),
        ("*/{subject}_*", "cat/_3.png", None),
        ("**/{subject}_*", "p07_3.png", "p07"),
        ("**/{subject}_*", "train/cat/p07_3.png", "p07"),
        ("train/**/{subject}/*.png", "train/a/b/c/1.png", "c"),
        ("train/**/{subject}/*.png", "train/c/1.png", "c"),
        ("{subject}/*/*", "p07/cat/1.png", "p07"),
        ("*/*_{subject}.png", "cat/a_b_c.png", "b_c"),
        ("*/*-x{subject}x-*", "cat/1-xx-2-xabx-3", "x-2-xab"),
        ("*/{subject}.png", "cat/p.png.png", "p.png"),
        ("*/{subject}", "cat/p(1)+[a].png", "p(1)+[a].png"),
        ("*/p.{subject}.*", "cat/pa7.png", None),
    ],
)
def test_what_a_pattern_means(pattern: str, path: str, subject: str | None) -> None:
    assert SubjectPattern(pattern).subject(path) == subject


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("*/*_*", "0 times"),
        ("{subject}/{subject}_*", "2 times"),
        ("*/{subject}*", "some text must stand between"),
        ("**{subject}", "some text must stand between"),
        ("**/x/**/{subject}", "once"),
        ("a**/{subject}", "a folder of its own"),
        ("{subject}/**", "a folder of its own"),
        ("{subject}/a***b", "a folder of its own"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        SubjectPattern(pattern)


@given(
    st.lists(st.sampled_from(["*", "a", "b", "_", "/"]), max_size=7),
    st.lists(st.sampled_from(["*", "a", "b", "_", "/"]), max_size=7),
    st.text("ab_/", min_size=1, max_size=14),
)
def test_the_shortest_text_matches_as_in_a_backtracking_search(
    before: list[str], behind: list[str], path: str
) -> None:
    pattern = re.sub(r"\*+", "*", "".join(before)) + "{subject}" + re.sub(r"\*+", "*", "".join(behind))
    try:
        subject = SubjectPattern(pattern).subject(path)
    except ValueError:
        return
    plain = pattern.replace("*", "[^/]*?").replace("{subject}", "([^/]+?)")
    expected = re.fullmatch(plain, path)
    assert subject == (expected and expected[1])


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 60 + "/{subject}", "a" * 50_000),
        ("*a" * 60 + "{subject}b" + "*a" * 60, "a" * 50_000),
        ("**/" + "*a" * 60 + "{subject}b", "a" * 200 + ("/" + "a" * 200) * 200),
        ("**/*/*/*/{subject}b", "a/" * 20_000),
    ],
)
def test_a_hostile_pattern_is_matched_at_once(pattern: str, path: str) -> None:
    """A backtracking search would take longer than the universe is old: the test would not end."""
    assert SubjectPattern(pattern).subject(path) is None


def test_folders_name_the_subjects_of_their_images(make_tree: MakeTree) -> None:
    tree = make_tree({"cat/p1_1.png": "", "cat/p1_2.png": "", "dog/p2_1.png": "", "dog/other.png": ""})
    manifest = read(tree, options=FormatOptions(subject="*/{subject}_*"))
    assert {entry.path: entry.subject for entry in manifest.entries} == {
        "cat/p1_1.png": "p1",
        "cat/p1_2.png": "p1",
        "dog/p2_1.png": "p2",
        "dog/other.png": None,
    }


def test_a_pattern_that_matches_nothing_is_shown_beside_three_paths(make_tree: MakeTree) -> None:
    tree = make_tree({f"{name}/{n}.png": "" for name in ("cat", "dog") for n in range(9)})
    with pytest.raises(FormatError) as refused:
        read(tree, options=FormatOptions(subject="*/{subject}_*"))
    code, detail = refused.value.problem
    assert code is ProblemCode.SUBJECT_PATTERN
    assert "'*/{subject}_*'" in detail
    assert detail.endswith("the first are 'cat/0.png', 'cat/1.png', 'cat/2.png'")
