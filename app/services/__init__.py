"""What a route calls: plain functions."""
