"""Schemathesis against a service of its own, with a key that may read and one that may do everything.

    python -m tests.fuzz [OPTION OF schemathesis run …]

It leaves nothing behind. A failure is printed with a command that repeats its request.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from core.settings import Settings
from masktune import Client
from tests.costs import overrun, processor_seconds, reference_loop, summary
from tests.openapi import SNAPSHOT
from tests.support.jobs.inline import run_inline
from tests.support.jobs.real_jobs import make_folder
from tests.support.processes import ROOT, Processes, answers, started
from tests.support.servers import free_port
from worker.runtime import Runtime

CONFIG = Path(__file__).with_name("schemathesis.toml")


def main() -> int:
    """Start the service, fill it, and run schemathesis twice; return the worse of its exit codes."""
    with (
        tempfile.TemporaryDirectory(prefix="masktune-fuzz-") as name,
        started(Processes(Path(name))) as processes,
    ):
        folder, port, key = Path(name), free_port(), secrets.token_hex(16)
        url = f"http://127.0.0.1:{port}"
        # No worker: the trainings that are started stay queued, and take no time from the requests.
        processes.masktune("api", PORT=str(port), DATA_DIR=name, API_KEYS=f"admin:{key}")
        processes.wait_until(lambda: answers(url))
        with Client(url, key=key) as client:
            ids = fill(client, folder)
            reader = client.keys.create("reader", ["read"]).secret
        assert reader is not None
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | ids
        # The admin comes last, and deletes what the reader reads.
        return max([fuzz(url, environment | {"FUZZ_KEY": secret}, folder) for secret in (reader, key)])


def fill(client: Client, folder: Path) -> dict[str, str]:
    """Make one of everything that an address can name; return the ids that schemathesis.toml names."""
    dataset = client.datasets.upload(make_folder(folder / "digits", images=60), name="digits")
    work(folder)
    training = client.jobs.start("masktune", dataset=dataset.id, backbone="small_cnn", epochs=1)
    work(folder)
    model = client.jobs.wait(training.id).models["masktune"]
    predictions = client.jobs.start("predict", dataset=dataset.id, model=model)
    work(folder)
    client.jobs.wait(predictions.id)
    client.models.set_alias("best", model)
    return {
        "FUZZ_DATASET": dataset.id,
        "FUZZ_MODEL": model,
        "FUZZ_REPORT": training.id,
        "FUZZ_PREDICTIONS": predictions.id,
    }


def work(data_dir: Path) -> None:
    """Run the queued jobs of the service, whatever else the environment names."""
    settings = Settings(
        _env_file=None, data_dir=data_dir, database_url="", broker_url="", storage_url="", threads=1
    )
    with closing(Runtime.open(settings)) as runtime:
        while run_inline(runtime):
            pass


def fuzz(url: str, environment: Mapping[str, str], folder: Path) -> int:
    """Run schemathesis; return its exit code."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    arguments = [str(SNAPSHOT), f"--url={url}", *sys.argv[1:]]
    return subprocess.run([*command, *arguments], check=False, cwd=folder, env=environment).returncode


if __name__ == "__main__":
    code = main()
    figures = processor_seconds(), reference_loop()
    print(summary(*figures))
    if over := overrun(*figures):
        sys.exit(over)
    sys.exit(code)
