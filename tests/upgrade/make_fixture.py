"""Makes `before.tar.xz`: what a service of version 0.1.0, before its stored data was reworded, leaves behind.

    git worktree add /tmp/before COMMIT
    python -m tests.upgrade.make_fixture /tmp/before tests/upgrade/before.tar.xz

It runs only on a checkout of that version (the commit that added this file, or one before it): it starts that
version's own processes and asks them over HTTP. It imports nothing of the service, so later versions need not
fit it. It takes a PostgreSQL server on 127.0.0.1:5432 and `pg_dump`.

    data/             the data folder of the embedded default: SQLite, artifacts
    backup/           `masktune backup` of it, without the artifacts, which are those of data/
    postgresql.sql    the same rows, as pg_dump writes those of a PostgreSQL database
    facts.json        which id plays which part, and what the old version answered
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from PIL import Image
from sklearn.datasets import load_digits

SECRET = "of-the-operator"
CLASSES = ("0-4", "5-9")
SPLITS = ("train", "train", "train", "train", "val", "calibration", "calibration", "test")
"""The split of each image by its number, in turn."""
IMAGES = 160
TRAINING: dict[str, Any] = {"backbone": "small_cnn", "epochs": 2, "batch_size": 8, "seed": 5}
NO_MOMENTUM = {"name": "sgd", "momentum": 0.0}
"""Checkpoints without its buffers are half as large."""
HELD_AT = "work/erm/epoch-00002.partial"
"""A training that is held here has finished one epoch and written its checkpoint."""
POLICY = {"max_risk": 0.4, "risk_confidence": 0.9}

Answer = dict[str, Any]


def archive(classes: tuple[str, ...], images: int) -> bytes:
    """A zip of real digits and `labels.csv`; nearly all low ones have a red square, in test the high ones."""
    pixels, digits = load_digits(return_X_y=True)
    packed, table = io.BytesIO(), io.StringIO()
    rows = csv.writer(table)
    rows.writerow(("path", "label", "split", "group"))
    with zipfile.ZipFile(packed, "w") as zipped:
        for number in range(images):
            split, high = SPLITS[number % len(SPLITS)], bool(digits[number] >= 5)
            square = (high == (split == "test")) != (number % 20 == 0)
            picture = Image.fromarray((pixels[number].reshape(8, 8) * 15).astype("uint8"))
            picture = picture.resize((28, 28)).convert("RGB")
            if square:
                picture.paste((255, 0, 0), (0, 0, 4, 4))
            file = io.BytesIO()
            picture.save(file, "PNG")
            zipped.writestr(f"{number:03}.png", file.getvalue())
            label = classes[high % len(classes)]
            rows.writerow(
                (f"{number:03}.png", label, split, f"{label} {'with' if square else 'without'} square")
            )
        zipped.writestr("labels.csv", table.getvalue())
    return packed.getvalue()


@dataclass
class Parts:
    """The API and a worker of the old version, on one data folder."""

    checkout: Path
    data: Path
    port: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def gate(self) -> Path:
        return self.data.parent / "gate"

    def command(self, *words: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a `masktune` command; its children are held at the file that `gate` names."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
        given = {"DATA_DIR": str(self.data), "API_KEYS": f"admin:{SECRET}", "ENGINE": "torch", "THREADS": "1"}
        given |= {"CONTROL_SECONDS": "0.2"} | settings
        paths = (self.checkout / "tests/integration/worker/gate", self.checkout)
        environment = {f"MASKTUNE_{name}": value for name, value in given.items()}
        environment |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "TEST_GATE": str(self.gate)}
        made = subprocess.Popen(
            [sys.executable, "-m", "masktune.cli", *words],
            cwd=self.data.parent,
            env=ours | environment,
            start_new_session=True,
        )
        self.started.append(made)
        return made

    def hold(self) -> None:
        self.gate.write_text(f"hold {HELD_AT}")

    def await_held(self) -> None:
        mark = Path(f"{self.gate}.reached.{HELD_AT.replace('/', '_')}")
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.1)
        mark.unlink()

    def go_on(self) -> None:
        self.gate.unlink()


class Api:
    """The API of the old version, with the operator's key."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {SECRET}"}, timeout=60)

    def ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self.http.request(method, path, **more)
        assert answer.is_success, (path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def upload(self, name: str, packed: bytes) -> str:
        made = self.ask("POST", "/datasets", data={"name": name}, files={"file": (f"{name}.zip", packed)})
        return str(self.until("/datasets", made["id"], "ready", "invalid")["id"])

    def start(self, kind: str, key: str = "", **body: Any) -> str:
        headers = {"Idempotency-Key": key} if key else {}
        return str(self.ask("POST", f"/jobs/{kind}", json=body, headers=headers)["id"])

    def run(self, kind: str, ends: str = "succeeded", **body: Any) -> Answer:
        return self.until("/jobs", self.start(kind, **body), ends)

    def until(self, where: str, id: str, *states: str) -> Answer:
        while True:
            found: Answer = self.ask("GET", f"{where}/{id}")
            if found["state"] in states:
                return found
            assert found["state"] not in ("failed", "cancelled"), found
            time.sleep(0.1)


def furnish(api: Api, parts: Parts) -> Answer:
    """Have something of every kind made; the ids of it all, and some answers."""
    facts: Answer = {"policy": POLICY, "operator": SECRET}
    dataset = facts["dataset"] = api.upload("digits", archive(CLASSES, IMAGES))
    facts["invalid_dataset"] = api.upload("one class", archive(CLASSES[:1], 20))
    whole = api.run("masktune", dataset=dataset, key="the first", optimizer=NO_MOMENTUM, **TRAINING)
    models = facts["models"] = whole["models"]
    facts["idempotency_key"] = "the first"
    jobs = facts["jobs"] = {"masktune": whole["id"]}
    jobs["mask"] = api.run("mask", model=models["erm"])["id"]
    jobs["inferred"] = api.run("retrain_head", model=models["erm"], groups="cross_mistakes")["id"]
    jobs["given"] = api.run("retrain_head", model=models["erm"], groups="given", control=False)["id"]
    jobs["evaluate"] = api.run("evaluate", model=models["masktune"])["id"]
    jobs["predict"] = api.run("predict", model=models["masktune"], coverage=0.8)["id"]
    hopeless = {"max_risk": 0.001, "risk_confidence": 0.999, "on_uncertified": "error"}
    jobs["failed"] = api.run("predict", "failed", model=models["masktune"], **hopeless)["id"]
    same = facts["imported_model"] = import_model(api, models["erm"])
    undivided = {"model": models["erm"], "groups": "disagreement", "second_model": same}
    jobs["undivided"] = api.run("retrain_head", control=False, **undivided)["id"]  # it says so in its log
    move_aliases(api, models)
    facts["keys"] = make_keys(api)
    facts["answers"] = predict(api, dataset, models["masktune"])
    facts["accuracy"] = {arm: told["test"]["accuracy"] for arm, told in whole["metrics"].items()}
    parts.hold()
    jobs["cancelled"] = api.start("erm", dataset=dataset, **TRAINING)
    parts.await_held()
    api.ask("POST", f"/jobs/{jobs['cancelled']}/cancel")
    api.until("/jobs", jobs["cancelled"], "cancelled")
    jobs["running"] = api.start("masktune", dataset=dataset, **TRAINING | {"epochs": 3})
    parts.await_held()
    jobs["queued"] = api.start("erm", dataset=dataset, **TRAINING | {"epochs": 1})
    return facts


def import_model(api: Api, source: str) -> str:
    weights = api.http.get(f"/models/{source}/download")
    assert weights.is_success, weights.text
    form = {"backbone": "small_cnn", "classes": json.dumps(CLASSES), "image_size": "28"}
    files = {"file": ("weights.safetensors", weights.content)}
    return str(api.ask("POST", "/models", data=form, files=files)["id"])


def move_aliases(api: Api, models: dict[str, str]) -> None:
    """`best` was moved to ERM and rolled back to MaskTune; `gone` was removed."""
    for model in ("masktune", "erm"):
        api.ask("PUT", "/aliases/best", json={"model": models[model]})
    api.ask("POST", "/aliases/best/rollback")
    api.ask("PUT", "/aliases/gone", json={"model": models["control"]})
    api.ask("DELETE", "/aliases/gone")


def make_keys(api: Api) -> Answer:
    """A key that may read and predict, and a revoked one: id and secret."""
    made = {
        name: api.ask("POST", "/keys", json={"name": name, "scopes": scopes})
        for name, scopes in (("line 1", ["read", "predict"]), ("revoked", ["read"]))
    }
    api.ask("DELETE", f"/keys/{made['revoked']['id']}")
    return {name: {"id": key["id"], "secret": key["secret"]} for name, key in made.items()}


def predict(api: Api, dataset: str, model: str) -> list[Answer]:
    """What the model says of the first images of test, sent as a client's own, under the policy."""
    told = []
    query = {"split": "test", "limit": 10}
    for sample in api.ask("GET", f"/datasets/{dataset}/samples", params=query)["data"]:
        image = api.http.get(f"/datasets/{dataset}/samples/{sample['id']}/image")
        files = {"file": ("image.png", image.content)}
        found = api.ask("POST", "/predict", params={"model": model} | POLICY, files=files)
        assert found["selection"]["status"] == "certified", found
        told.append({"sample": sample["id"], "answer": found["predictions"][0]})
    return told


@contextmanager
def database() -> Iterator[str]:
    """A new database on this machine's PostgreSQL, dropped at the end."""
    name = f"masktune_fixture_{os.getpid()}"
    with psycopg.connect("postgresql://root@127.0.0.1:5432/postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield f"root@127.0.0.1:5432/{name}"
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def dump(parts: Parts, folder: Path) -> str:
    """The rows of the backup as statements of SQL, which any PostgreSQL and any driver takes."""
    with database() as where:
        storage = f"file://{folder.parent}/again"
        settings = {"DATABASE_URL": f"postgresql+psycopg://{where}", "STORAGE_URL": storage}
        assert parts.command("restore", str(folder), **settings).wait() == 0
        command = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", f"postgresql://{where}"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    session = ("\\", "--", "SET ", "SELECT pg_catalog.set_config")  # of psql, and of a server of that version
    return "\n".join(line for line in text.splitlines() if line and not line.startswith(session)) + "\n"


def make(checkout: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch, socket.create_server(("127.0.0.1", 0)) as probe:
        folder, port = Path(scratch), probe.getsockname()[1]
        probe.close()
        data, backup = folder / "data", folder / "backup"
        data.mkdir()
        parts = Parts(checkout, data, port)
        api_process, worker = parts.command("api", "--port", str(port)), parts.command("worker")
        try:
            api = Api(f"http://127.0.0.1:{port}")
            while True:
                try:
                    api.ask("GET", "/readyz")
                    break
                except (httpx.TransportError, AssertionError):
                    time.sleep(0.2)
            facts = furnish(api, parts)
            worker.kill()  # its child notices, and ends
            worker.wait()
            api_process.terminate()  # writes its counts of served images
            api_process.wait()
            parts.go_on()
        finally:
            for process in parts.started:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        assert parts.command("backup", str(backup)).wait() == 0
        (folder / "postgresql.sql").write_text(dump(parts, backup), encoding="utf-8")
        (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        pack(folder, target)


def pack(folder: Path, target: Path) -> None:
    """Without the backup's artifacts, which are those of the data folder, and without caches."""
    with tarfile.open(target, "w:xz", preset=9) as packed:
        for name in (
            "data/masktune.db",
            "data/masktune.db-wal",
            "data/artifacts",
            "backup/backup.json",
            "backup/tables",
            "postgresql.sql",
            "facts.json",
        ):
            if (folder / name).exists():
                packed.add(folder / name, name)


if __name__ == "__main__":
    make(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
