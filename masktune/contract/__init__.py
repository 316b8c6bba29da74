"""What the service and its clients agree on: words, ids, stages, the shapes of answers."""
