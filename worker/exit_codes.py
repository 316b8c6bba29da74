"""Exit codes of a job's child process, beside 0 and those of a crash."""

from __future__ import annotations

STOPPED = 75
"""Exit code of a child that was asked to stop (EX_TEMPFAIL of sysexits.h)."""
ABANDONED = 76
"""Exit code of a child that ended itself because its supervisor was gone or its lease had expired."""
