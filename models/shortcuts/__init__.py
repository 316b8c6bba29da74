"""Check which simple properties of an image predict its label, without a network or a GPU.

A property that predicts is not always a shortcut: brightness may be what the class is about. So the
findings say what predicts and where in the image, and leave the judgement to a person. This package
does not import torch.
"""

from models.shortcuts.check import OtherSplit, check_properties, find_shortcuts
from models.shortcuts.findings import RULE, BestClass, Finding, ShortcutCheck, Strength, Transfer

__all__ = [
    "RULE",
    "BestClass",
    "Finding",
    "OtherSplit",
    "ShortcutCheck",
    "Strength",
    "Transfer",
    "check_properties",
    "find_shortcuts",
]
