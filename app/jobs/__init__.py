"""Jobs: hyperparameters, plans, events, presets."""
