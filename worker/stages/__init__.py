"""The stages of a job: each reads artifacts, writes one artifact, and returns its result."""
