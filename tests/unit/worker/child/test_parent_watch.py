"""The watch reads its first line whole, or says that there is none."""

from __future__ import annotations

import os

import pytest

from worker.child.pipes import ParentWatch


def test_the_first_line_is_read_whole_however_it_comes() -> None:
    reading, writing = os.pipe()
    for part in (b"ab", b"c", b"\n", b'{"until": 5}\n'):
        os.write(writing, part)
    parent = ParentWatch(reading)
    assert parent.first_line() == b"abc"
    os.close(writing)
    os.close(reading)


def test_a_pipe_that_ends_without_a_line_is_an_end_of_file() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(EOFError):
        ParentWatch(reading).first_line()
    os.close(reading)
