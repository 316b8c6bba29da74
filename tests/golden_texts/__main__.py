"""Rewrites the golden texts, after a change of a sentence that is meant: `make golden`."""

from __future__ import annotations

from tests.golden_texts.printed import FOLDER, TEXTS, file_of, text_of

FOLDER.mkdir(exist_ok=True)
for file in FOLDER.glob("*.txt"):
    file.unlink()
for name in TEXTS:
    file_of(name).write_text(text_of(name), encoding="utf-8")
