"""Characters that steer a terminal, as text."""

from __future__ import annotations

import re

# Control characters, bidirectional overrides, and lone surrogates.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    """Escape control characters in the text: names of files and classes are untrusted."""
    return _CONTROLS.sub(lambda control: control[0].encode("unicode_escape").decode(), text)
