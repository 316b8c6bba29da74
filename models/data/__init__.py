"""Images on disk: formats, checks, splits, the packed store, and the batches that training reads."""
