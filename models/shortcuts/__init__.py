"""Check which simple properties of an image predict its label, without a network or a GPU.

A property that predicts is not always a shortcut: brightness may be what the class is about. So the
findings say what predicts and where in the image, and leave the judgement to a person. This package
does not import torch.
"""
