"""Where the figures in docs/ come from, one command each."""

import os

# As `prepare_process` sets it for the service's processes. OpenMP reads it once, when torch is imported,
# and a benchmark's module imports torch before it can call that.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
