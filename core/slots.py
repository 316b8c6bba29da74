"""Which kinds of jobs wait for the same slots of a worker.

Imports have slots of their own, and the other slots leave imports alone, so that neither an upload waits for
a training nor a training for an upload.
"""

from __future__ import annotations

from masktune.contract.vocabulary import JobKind

ALL_KINDS = frozenset(JobKind)
IMPORTS = frozenset({JobKind.IMPORT})


def kinds_of_worker_slots(import_slots: int) -> frozenset[JobKind]:
    """The kinds that a worker slot runs, beside so many slots for imports."""
    return ALL_KINDS - IMPORTS if import_slots else ALL_KINDS


def kinds_queued_with(kind: JobKind, import_slots: int) -> frozenset[JobKind]:
    """The kinds of jobs that wait for the same slots as a job of this kind."""
    return IMPORTS if import_slots and kind in IMPORTS else kinds_of_worker_slots(import_slots)
