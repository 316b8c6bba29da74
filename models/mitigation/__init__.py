"""The last layer refitted, balanced over groups that are labelled or inferred."""
