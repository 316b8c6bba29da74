"""The log of a whole service, as a machine reads it: a request can be followed into the job it started."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.acceptance.conftest import Processes, address
from tests.support.waits import PATIENCE

pytestmark = pytest.mark.slow


def one_class() -> bytes:
    """An archive that can be unpacked and that no data set can be made of: the child says so in its log."""
    archive, picture = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture, "PNG")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("only/one.png", picture.getvalue())
    return archive.getvalue()


def test_the_id_of_a_request_goes_with_its_job_to_every_process(processes: Processes, tmp_path: Path) -> None:
    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var"), LOG_FORMAT="json")
    with httpx.Client(base_url=address(serve), trust_env=False) as client:
        answer = client.post(
            "/datasets",
            files={"file": ("set.zip", one_class())},
            data={"name": "set"},
            headers={"X-Request-ID": "follow-me"},
        )
        assert answer.status_code == 202
        where = answer.headers["Location"]
        processes.wait_until(lambda: client.get(where).json()["state"] == "invalid")
        job = client.get("/jobs").json()["data"][0]["id"]
    serve.terminate()
    assert serve.wait(PATIENCE) == 0
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (tmp_path / "serve.log").read_text().splitlines() if line.startswith("{")
    ]
    ours = [line for line in lines if line.get("request_id") == "follow-me"]
    (access,) = (line for line in ours if line["logger"] == "masktune.access")
    assert (access["method"], access["route"], access["status"]) == ("POST", "/datasets", 202)
    by_logger = {line["logger"]: line for line in ours}
    assert by_logger["worker.slots"]["job_id"] == job
    child = by_logger["worker.child.runner"]  # another process
    assert child["job_id"] == job
    assert "JobError" in child["exception"]
