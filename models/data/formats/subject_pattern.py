"""Subjects named by the path of an image: `*/{subject}_*` makes `p07` the subject of `cat/p07_3.png`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from models.data.formats.manifest import Entry, FormatError, Manifest
from models.data.report import ProblemCode

SUBJECT = "{subject}"
_FOLDERS = "**/"
_EXAMPLES = 3  # paths that a problem names
_WILDCARDS = re.compile(r"(\{subject\}|\*)")
_REGEXES = {"*": "[^/]*?", SUBJECT: "(?P<subject>[^/]+?)"}


class SubjectPattern:
    """A pattern on whole paths: `*` is any text without a slash, `**/` any folders, and `{subject}` at least
    one character without a slash, as few as match. Raises ValueError if it cannot be used.

    A path is matched in time linear in its length. Within a folder or file name, the first place of a text
    that follows a wildcard is final (an atomic group), but for the last text, and `**/` may occur once.
    """

    def __init__(self, pattern: str) -> None:
        if (count := pattern.count(SUBJECT)) != 1:
            raise ValueError(f"the pattern {pattern!r} has {SUBJECT} {count} times: write it once")
        if f"*{SUBJECT}" in pattern or f"{SUBJECT}*" in pattern:
            raise ValueError(f"in the pattern {pattern!r}, some text must stand between * and {SUBJECT}")
        before, folders, behind = pattern.partition(_FOLDERS)
        if (folders and before and not before.endswith("/")) or "**" in before + behind:
            raise ValueError(f"the pattern {pattern!r} may have ** once, as a folder of its own: **/")
        regex = "/".join(map(_segment, before.split("/"))) + (r"(?:[^/]+/)*?" if folders else "")
        self._regex = re.compile(regex + "/".join(map(_segment, behind.split("/"))))

    def subject(self, path: str) -> str | None:
        """The subject that the path names, or None if the path does not match."""
        match = self._regex.fullmatch(path)
        return None if match is None else match["subject"]


def name_subjects(manifest: Manifest, pattern: str) -> Manifest:
    """The manifest with the subjects that the paths name. Raises `FormatError` if none does, if the pattern
    cannot be used, or if a list names the subjects."""
    if any(entry.subject is not None for entry in manifest.entries):
        raise _refusal("the list has a column of subjects, so leave out the pattern (the option subject)")
    try:
        of = SubjectPattern(pattern).subject
    except ValueError as error:
        raise _refusal(str(error)) from error
    entries = tuple(entry._replace(subject=of(entry.path)) for entry in manifest.entries)
    if all(entry.subject is None for entry in entries):
        raise _refusal(
            f"the pattern {pattern!r} matches the path of no image; the first are {_examples(entries)}"
        )
    return replace(manifest, entries=entries)


def _segment(text: str) -> str:
    """The regular expression of the part of a pattern between two slashes."""
    first, *others = _WILDCARDS.split(text)
    expression = re.escape(first)
    for index, (wildcard, literal) in enumerate(zip(others[::2], others[1::2], strict=True), start=1):
        part = _REGEXES[wildcard] + re.escape(literal)
        expression += part if 2 * index == len(others) else f"(?>{part})"
    return expression


def _examples(entries: Sequence[Entry]) -> str:
    return ", ".join(repr(entry.path) for entry in entries[:_EXAMPLES])


def _refusal(detail: str) -> FormatError:
    return FormatError(ProblemCode.SUBJECT_PATTERN, detail)
