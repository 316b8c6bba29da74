"""The threshold rule, masks of a whole split, and their store."""
