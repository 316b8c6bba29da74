"""Answers of a model that serves: predictions, the reject option, the queues that people review."""
