"""Models, aliases, backbones, calibrations, drift."""
