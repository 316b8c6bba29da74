"""The mechanism that runs the documentation's commands: what it takes, what it compares, what it refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs.console import Reader, read, rewrite
from tests.support.docs.pages import Command, blocks

pytestmark = pytest.mark.docs

PAGE = """\
# A page

```console
$ echo "made ds_01aaaaaaaaaaaa in 1.25 s"
made ds_01bbbbbbbbbbbb in 0.9 s
$ echo ds_01bbbbbbbbbbbb \\
>   twice
ds_01bbbbbbbbbbbb twice
```

<!-- not run: it would hurt -->
```console
$ false
```

```python
print("a program")
```

```text
$ not a command
```
"""


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path, dict(os.environ), "127.0.0.1:4711")
    yield made
    made.turn_the_page()


def page(folder: Path, text: str) -> Path:
    made = folder / "page.md"
    made.write_text(text, encoding="utf-8")
    return made


def test_blocks_are_found_with_their_commands(tmp_path: Path) -> None:
    first, second, third = blocks(page(tmp_path, PAGE))
    assert [command.text for command in first.commands][1] == "echo ds_01bbbbbbbbbbbb \\\n  twice"
    assert (first.commands[0].line, first.not_run) == (4, None)
    assert second.not_run == "it would hurt"
    assert (third.language, 'print("a program")' in third.commands[0].text) == ("python", True)


def test_a_page_that_says_the_truth_is_read_to_its_end(reader: Reader, tmp_path: Path) -> None:
    assert list(read(page(tmp_path, PAGE), reader)) == []
    assert reader.ids == {"ds_01bbbbbbbbbbbb": "ds_01aaaaaaaaaaaa"}


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("```console\n$ echo three\nfour\n```", "printed:\nthree"),
        ("```console\n$ echo 12 images\n13 images\n```", "printed:\n12 images"),
        ("```console\n$ false\n```", "ended with 1"),
        ("```console\n$ echo 'without an end\n```", "ended with"),
        ("```console\n$ echo\nsomething\n```", "printed:\n"),
        ("```python\nraise SystemExit(3)\n```", "ended with 3"),
    ],
)
def test_what_is_not_so_is_told(reader: Reader, tmp_path: Path, block: str, told: str) -> None:
    (fault,) = read(page(tmp_path, block + "\n"), reader)
    assert told in fault


@pytest.mark.parametrize(
    ("expected", "printed", "varies", "same"),
    [
        ("accuracy 0.93", "accuracy 0.871", None, True),
        ("accuracy 0.93", "accuracy high", None, False),
        ("100%  done", "97%  done", None, True),
        ("made 2026-11-24 23:44:16", "made 2027-01-02 03:04:05", None, True),
        ("186 samples", "187 samples", None, False),
        ("186 samples", "1,870 samples", "figures", True),
        ("one … three", "one two three", None, True),
        ("a\n…\nd", "a\nb\nc\nd", None, True),
        ("a\n…\nd", "a\nb\nc", None, False),
        ("x.png   abstains", "x.png   0-4", "answers", True),
        ("x.png   abstains", "y.png   abstains", "answers", False),
        ("  id      mdl_01aaaaaaaaaa", " id mdl_01bbbbbbbbbb", None, True),
        ("model mdl_01aaaaaaaaaa", "model ds_01bbbbbbbbbb", None, False),
        ("same mdl_01aaaaaaaaaa mdl_01aaaaaaaaaa", "same mdl_01bbbbbbbbbb mdl_01cccccccccc", None, False),
    ],
)
def test_outputs_are_compared_where_they_are_stable(
    reader: Reader, expected: str, printed: str, varies: str | None, same: bool
) -> None:
    found = reader.compare(expected.splitlines(), printed.splitlines(), varies=varies)
    assert (found is None) == same


def test_the_service_is_where_the_page_says(reader: Reader) -> None:
    printed, code = reader.type(
        Command(1, "url=http://127.0.0.1:8000; test $url = http://127.0.0.1:4711; echo $url")
    )
    assert (printed, code) == (["http://127.0.0.1:8000"], 0)
    assert reader.type(Command(1, "test $url = http://127.0.0.1:4711"))[1] == 0


def test_a_page_is_written_anew(reader: Reader, tmp_path: Path) -> None:
    old = PAGE.replace("0.9 s", "0.9 minutes").replace(
        "```python", "```console\n$ seq 3\n1\n…\n```\n\n```python"
    )
    made = page(tmp_path, old)
    rewrite(made, reader)
    text = made.read_text(encoding="utf-8")
    assert "made ds_01aaaaaaaaaaaa in 1.25 s\n$ echo ds_01aaaaaaaaaaaa \\\n" in text
    assert "ds_01bbbbbbbbbbbb" not in text
    assert "$ seq 3\n1\n…\n" in text
