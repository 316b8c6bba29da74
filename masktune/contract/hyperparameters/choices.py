"""The words that parameters of the learning, and of imports, take."""

from enum import StrEnum
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


class DatasetFormat(StrEnum):
    """How the files of an upload are laid out."""

    AUTO = "auto"
    IMAGE_FOLDER = "image_folder"  # [split/]class/image
    CSV = "csv"  # one list with path, label[, split][, group]…, as text or in a workbook
    WATERBIRDS = "waterbirds"  # metadata.csv with img_filename, y, split, place
    CELEBA = "celeba"  # list_attr_celeba, list_eval_partition, img_align_celeba
    COCO = "coco"  # JSON with images, annotations and categories
    CVAT = "cvat"  # XML of "CVAT for images 1.1", with tags
    LABEL_STUDIO = "label_studio"  # a JSON or JSON-MIN export, with choices
    HUGGING_FACE = "hugging_face"  # metadata.csv, .jsonl or .parquet with file_name; parquet with the images
    BACKGROUNDS_CHALLENGE = "backgrounds_challenge"  # original, mixed_same, mixed_rand, only_fg … trees
    UNLABELLED = "unlabelled"  # images in any folders, whose names mean nothing: nothing is trained on them
