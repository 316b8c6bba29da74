"""The log: what is bound stands on every record, in lines and in JSON."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from core import logs


@contextmanager
def handled(format: logs.Format, **fields: str | None) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger of its own that logs as a process would, into memory."""
    settings = logs.config("info", format, **fields)
    made = logging.config.DictConfigurator(settings)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(made.configure_formatter(settings["formatters"]["line"]))
    handler.addFilter(logs.Fields(settings["filters"]["fields"]["process"]))
    logger = logging.Logger("masktune.test")
    logger.addHandler(handler)
    yield logger, written


def as_json(text: str) -> dict[str, Any]:
    (line,) = text.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_json_has_what_is_bound_and_what_is_extra() -> None:
    with handled("json", job_id="job_1", request_id=None) as (logger, written):
        with logs.bind(request_id="abc", job_id=None):
            logger.info("said %d\nthings", 2, extra={"status": 200})
    line = as_json(written.getvalue())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "masktune.test",
        "message": "said 2\nthings",
        "job_id": "job_1",
        "request_id": "abc",
        "status": 200,
    }


def test_json_keeps_a_traceback_on_its_line() -> None:
    with handled("json") as (logger, written):
        try:
            int("gone")
        except ValueError:
            logger.exception("it failed")
    assert "ValueError: invalid literal" in as_json(written.getvalue())["exception"]


def test_a_line_for_people_ends_with_the_fields() -> None:
    with handled("text", job_id="job_1") as (logger, written):
        with logs.bind(request_id="abc"):
            logger.warning("careful")
        logger.warning("bare")
    first, second = written.getvalue().splitlines()
    assert first.endswith("WARNING masktune.test: careful [job_id=job_1 request_id=abc]")
    assert second.endswith("WARNING masktune.test: bare [job_id=job_1]")


def test_a_line_for_people_stays_one_whatever_its_texts_are() -> None:
    with handled("text") as (logger, written), logs.bind(request_id="a\nb"):
        logger.info("helps with %s", "Öl\t\r\n2026-12-03 INFO: forged\x1b[31m\x85\u2028\u202e")
    (line,) = written.getvalue().splitlines()
    end = r"helps with Öl{}\r\n2026-12-03 INFO: forged\x1b[31m\x85\u2028\u202e [request_id=a\nb]"
    assert line.endswith(end.format("\t"))


def test_what_is_bound_ends_with_its_block_even_when_it_fails() -> None:
    with handled("text") as (logger, written):
        with pytest.raises(LookupError), logs.bind(request_id="abc"), logs.bind(job_id="job_2"):
            raise LookupError
        logger.warning("after")
    assert written.getvalue().endswith("masktune.test: after\n")


@pytest.mark.parametrize("level", ["debug", "error"])
def test_no_part_of_an_image_or_a_migration_is_a_line(level: str) -> None:
    """PIL writes one for each chunk of a PNG: the log of one upload took three minutes and 300 MB. Alembic
    writes two whenever a revision is read."""
    program = f"""
import logging
from core import logs
logs.setup("{level}")
for place in ("PIL", "PIL.PngImagePlugin"):
    logging.getLogger(place).debug("STREAM")
    logging.getLogger(place).warning("careful")
logging.getLogger("pydicom").warning("STREAM")
logging.getLogger("alembic.runtime.migration").info("STREAM")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "STREAM" not in done.stderr
    assert ("careful" in done.stderr) == (level == "debug")
