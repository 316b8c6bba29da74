"""The log of every process: lines for people or JSON for machines, with the request and job of each record.

`bind` sets fields for a block of code, `setup` for a whole process; both are added to every record, even
those of libraries.
"""

from __future__ import annotations

import json
import logging
import logging.config
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

Format = Literal["text", "json"]
LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_NOTHING: Mapping[str, str] = {}
_bound: ContextVar[Mapping[str, str]] = ContextVar("masktune_log_fields", default=_NOTHING)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "fields"}
"""Attributes of every log record; any others come from `extra`."""


@contextmanager
def bind(**fields: str | None) -> Iterator[None]:
    """Add fields such as `request_id` and `job_id` to every record of this context; None is left out.

    Tasks and `asyncio.to_thread` inherit the fields; a thread started inside the block does not.
    """
    token = _bound.set({**_bound.get(), **_known(fields)})
    try:
        yield
    finally:
        _bound.reset(token)


def config(level: str, format: Format = "text", **fields: str | None) -> dict[str, Any]:
    """Configuration for `logging.config.dictConfig`: one handler on stderr, with `fields` on every record."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"fields": {"()": Fields, "process": _known(fields)}},
        "formatters": {"line": {"()": JsonFormatter if format == "json" else LineFormatter}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["fields"]},
        },
        "root": {"level": level.upper(), "handlers": ["stderr"]},
        "loggers": {
            # Its lowest level has a line for each part of an image: millions, if the image is an attack.
            "PIL": {"level": "INFO" if level.lower() == "debug" else level.upper()},
            # It warns of each element that is damaged: tens of thousands, if the image is an attack.
            "pydicom": {"level": "ERROR"},
            # It informs of its dialect whenever a revision is read; `core.schema` tells of migrations.
            "alembic": {"level": "WARNING" if level.lower() in ("debug", "info") else level.upper()},
        },
    }


def setup(level: str, format: Format = "text", **fields: str | None) -> None:
    """Configure the log of this process."""
    logging.config.dictConfig(config(level, format, **fields))


class Fields(logging.Filter):
    """Adds `fields` to a record: those of the process, then those bound where it is logged."""

    def __init__(self, process: Mapping[str, str] = _NOTHING) -> None:
        super().__init__()
        self._process = process

    def filter(self, record: logging.LogRecord) -> bool:
        record.fields = {**self._process, **_bound.get()}
        return True


class LineFormatter(logging.Formatter):
    """Formats a record as one line for people, with the fields in brackets at its end.
    What steers a terminal is escaped: names in messages may be anybody's."""

    def __init__(self) -> None:
        super().__init__(LINE)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the library's name
        fields: Mapping[str, str] = getattr(record, "fields", _NOTHING)
        suffix = " ".join(f"{name}={text}" for name, text in fields.items())
        line = super().formatMessage(record) + (f" [{suffix}]" if suffix else "")
        return _CONTROLS.sub(lambda control: control[0].encode("unicode_escape").decode(), line)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: `time` (RFC 3339, UTC), `level`, `logger`, `message`, the fields,
    anything given as `extra`, and `exception` with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", _NOTHING),
            **{name: attribute for name, attribute in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _known(fields: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in fields.items() if text is not None}
