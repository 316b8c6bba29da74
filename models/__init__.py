"""The learning: PyTorch, and nothing of the service. Importing the package imports no torch."""
