"""Passes over images in shards: the one loop that a job makes, and how other workers help it."""
