"""How many threads tests give to torch: one, or as many as `make test-processors` asks for."""

from __future__ import annotations

import os

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
