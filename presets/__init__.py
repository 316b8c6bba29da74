"""One TOML per experiment of the paper: hyperparameters by name, for the `preset` of a job."""
