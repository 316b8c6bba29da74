"""Methods around MaskTune that train a whole network: one budget, selected without group labels."""
