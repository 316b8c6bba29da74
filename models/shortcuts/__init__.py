"""Which simple property of an image predicts its label: the check that needs no network and no GPU.

A property that predicts is not always a shortcut: brightness may be what the class is about. So the
findings say "tells", say where in the image, and leave the judgement to a person. No torch.
"""

from models.shortcuts.check import Elsewhere, find_shortcuts, judge
from models.shortcuts.findings import RULE, ClassTold, Finding, ShortcutCheck, Strength, Transfer

__all__ = [
    "RULE",
    "ClassTold",
    "Elsewhere",
    "Finding",
    "ShortcutCheck",
    "Strength",
    "Transfer",
    "find_shortcuts",
    "judge",
]
