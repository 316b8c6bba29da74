"""Methods around MaskTune as heads on the same frozen features: one protocol, no group labels."""
