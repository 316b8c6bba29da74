"""What the service and its clients agree on: words, ids, stages, hyperparameters, requests and answers."""
