"""The lines that a child writes to its supervisor: one JSON object each, told apart by `type`.

    hello           {pid, device, threads}
    stage_started   {stage}
    progress        {fraction, stage, stage_fraction, epoch, epochs, step, steps, images_per_second,
                     eta_seconds, metrics, advanced}; `advanced`: an epoch was checkpointed
    stage_finished  {stage, result}
    log             {message}
    alive           {}; a sign of life from a loop that has nothing else to report
    failed          {error, retry}; `error` is a problem object
    done            {}

The supervisor writes to the child's stdin: first the job's spec, then `{"until": seconds}` at each renewal
of the lease, by CLOCK_MONOTONIC, which all processes of a host share.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Literal, TypedDict, cast

logger = logging.getLogger(__name__)

MessageType = Literal[
    "hello", "stage_started", "progress", "stage_finished", "log", "alive", "failed", "done"
]


class Message(TypedDict, total=False):
    """Any of the messages above; `type` is always present."""

    type: MessageType
    stage: str
    result: dict[str, Any]
    message: str
    error: dict[str, Any]
    retry: bool
    advanced: bool
    metrics: dict[str, float]


def parse(line: bytes) -> Message | None:
    """The message on this line; None, with a warning in the log, if the line is not a message."""
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict) or "type" not in value:
        logger.warning("a child wrote a line that is no message: %.200r", line)
        return None
    return cast(Message, value)
