"""The last layer refitted, balanced over groups that are given or inferred."""
