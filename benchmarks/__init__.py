"""Where the figures in docs/ come from, one command each."""

from models.process import keep_freed_memory, wait_briefly

# As the service's processes do it. The one has no effect in threads that are there before it, the other is
# read once, when torch is imported; and a benchmark's module imports numpy and torch before its first line.
keep_freed_memory()
wait_briefly()
