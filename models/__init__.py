"""The learning code (PyTorch), independent of the service. Importing the package does not import torch."""
