"""The experiments behind REPRODUCTION.md, one command each."""

import benchmarks  # noqa: F401  # prepares this process, before numpy and torch are imported
