"""Forward passes over a split, and what is kept of them: features and logits."""
