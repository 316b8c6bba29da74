"""The service that the documentation's commands are typed at, and the folder that they are typed in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.conftest import MARK, ROOT, Processes, address
from tests.acceptance.docs_console import Reader, Shell

KEY = "the-key-of-the-documentation"


@contextmanager
def reading(processes: Processes, folder: Path) -> Iterator[Reader]:
    """A reader in `folder`, which has the data folder `var` of a service and the examples.

    The service has a key, and so has the reader's shell: what the pages say holds without one as well.
    """
    serve = processes.masktune(
        "serve", "--port", "0", "--data-dir", str(folder / "var"), API_KEYS=f"admin:{KEY}"
    )
    url = address(serve)
    (folder / "examples").symlink_to(ROOT / "examples")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT)))),
        "MASKTUNE_URL": url,
        "MASKTUNE_KEY": KEY,
        "OMP_NUM_THREADS": "2",
        MARK: processes.mark,
    }
    shell = Shell(folder, ours | environment)
    try:
        yield Reader(shell, url.removeprefix("http://"))
    finally:
        shell.close()
