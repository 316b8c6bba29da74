"""The benchmarks behind the figures in docs/, one command each."""

from models.runtime.process import keep_freed_memory, limit_spinning

# As in the service's processes. They must run before a benchmark's module imports numpy and torch: the first
# has no effect on threads that already exist, and torch reads the second's setting once, when it is imported.
keep_freed_memory()
limit_spinning()
