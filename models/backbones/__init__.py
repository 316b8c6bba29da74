"""A network as features(x) → activation and head(activation) → logits, by name."""
