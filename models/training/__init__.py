"""The one loop, and what it takes: optimisers, augmentation, checkpoints, precision."""
