"""Where the figures in docs/ come from, one command each."""

from models.process import wait_briefly

# As `prepare_process` does it for the service's processes. OpenMP reads it once, when torch is imported,
# and a benchmark's module imports torch before it can call that.
wait_briefly()
