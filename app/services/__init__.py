"""The functions that routes call."""
