"""The snapshot of the OpenAPI document. `make openapi` rewrites it, after a change that is meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.main import create_app
from core.settings import Settings

SNAPSHOT = Path(__file__).with_name("openapi.json")


def document() -> str:
    """The document of a front with default settings as sorted JSON, without the version of the service."""
    found = create_app(Settings(_env_file=None, root_path="")).openapi()
    info = {name: told for name, told in found["info"].items() if name != "version"}
    return json.dumps(found | {"info": info}, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def snapshot() -> dict[str, Any]:
    """The committed document: to generate it takes a second, and one test holds that it is the same."""
    read: dict[str, Any] = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    return read


if __name__ == "__main__":
    SNAPSHOT.write_text(document(), encoding="utf-8")
