"""What a model answers and what it leaves open: policy, calibrations, use."""
