"""The words that parameters of the learning take."""

from typing import Literal

Augmentation = Literal["none", "flip", "crop_flip", "flip_affine", "pad_crop", "crop_flip_jitter"]
BiasAssignment = Literal["order", "random"]
BiasKind = Literal["square", "two_squares", "background", "foreground"]
Crop = Literal["none", "centre", "square"]
Fill = Literal["black", "mean", "blur"]
Gate = Literal["auto", "open", "closed"]
GroupSource = Literal["auto", "labels", "early_stages", "cross_mistakes"]
OptimizerName = Literal["sgd", "adam", "adamw"]
Precision = Literal["auto", "fp32", "bf16"]
ScheduleName = Literal["constant", "multistep", "cosine"]
ScoreName = Literal["max_softmax", "product", "minimum"]
Target = Literal["predicted", "label"]
