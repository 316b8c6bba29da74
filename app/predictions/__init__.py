"""Predictions and saliency maps, with or without the right to abstain."""
