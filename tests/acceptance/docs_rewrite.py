"""`python -m tests.acceptance.docs_rewrite PAGE…` runs the pages in this order and updates their output."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.acceptance.docs_service import reading
from tests.support.docs.console import rewrite


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, reading(Path(folder)) as reader:
        for page in sys.argv[1:]:
            rewrite(Path(page), reader)


if __name__ == "__main__":
    main()
