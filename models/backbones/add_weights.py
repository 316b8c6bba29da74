"""Adds published weights to this host from a file that was fetched elsewhere, for jobs with `pretrained`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from textwrap import shorten
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from torch.hub import HASH_REGEX

from models.backbones.build import find_library
from models.backbones.errors import WeightsUnavailable
from models.backbones.network import BuildRequest, Built
from models.backbones.weights import read_tensors, state_license
from models.runtime.files import replacing

_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
"""A repository of the Hugging Face hub has one of these, or both."""


class AddedWeights(NamedTuple):
    """`file` is where the weights lie now; `sha256` is of the file that was given.
    `is_published` is whether that digest begins as the library's address for the file says; None where the
    address does not say. `license` is what the caller stated, else the file's metadata, else the library;
    None if unknown."""

    file: Path
    sha256: str
    is_published: bool | None
    license: str | None


def add_weights(backbone: str, path: Path, *, license_text: str | None = None) -> AddedWeights:
    """Copy weights to where jobs with `pretrained` look first, after loading them into the network once.

    `path` is a safetensors or PyTorch file with all published tensors of the network, or the folder of a
    repository of the Hugging Face hub; nothing in it is executed. `license_text` is the licence, if the
    caller states one. Raises `UnknownBackbone`, `UnsupportedBackbone`, and `WeightsUnavailable` if the file
    cannot be read or does not fit.
    """
    library, name = find_library(backbone)
    published = library.published_weights(name)
    if published.place == "packaged":
        raise WeightsUnavailable(f"the published weights of {backbone} come with the service")
    if published.file is None or published.image_size is None:
        raise WeightsUnavailable(f"there are no published weights for {backbone}")
    file = _weights_file(path)
    built = library.build(BuildRequest(name, classes=2, image_size=published.image_size))
    _check_config(path, name, built)
    tensors = read_tensors(file)
    library.check_weights(name, tensors)
    published.file.parent.mkdir(parents=True, exist_ok=True)
    _copy(file, tensors, published.file)
    state_license(published.file, license_text or _license_in(file))
    with file.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
    digest = HASH_REGEX.search(PurePosixPath(published.url or "").name)
    return AddedWeights(
        published.file,
        sha256,
        sha256.startswith(digest[1]) if digest else None,
        library.published_weights(name).license,
    )


def _weights_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in _IN_FOLDERS:
        if (file := path / name).is_file():
            return file
    raise WeightsUnavailable(f"{path} has no {' or '.join(_IN_FOLDERS)}: name the file itself")


def _license_in(file: Path) -> str | None:
    """The entry `license` of a safetensors file's metadata, at most 200 characters."""
    if file.suffix != ".safetensors":
        return None
    with safe_open(file, "pt") as opened:
        return shorten((opened.metadata() or {}).get("license", ""), 200)


def _check_config(path: Path, name: str, built: Built) -> None:
    """Weights of a network with the same tensors would fit, but be wrong: the hub's config.json tells them
    apart. timm's repositories have one with these fields."""
    file = path / "config.json"
    if not file.is_file():
        return
    try:
        config = json.loads(file.read_bytes())
        architecture, normalisation = config["architecture"], config["pretrained_cfg"]
        mean, std = normalisation["mean"], normalisation["std"]
        is_same = np.allclose((mean, std), (built.mean, built.std))
    except (LookupError, TypeError, ValueError) as error:
        raise WeightsUnavailable(
            f"{file} is not one of timm's ({error!r}): name the file of weights itself"
        ) from error
    if architecture != name.partition(".")[0]:  # behind the point is a tag of the weights
        raise WeightsUnavailable(f"{file} says that the weights are of {architecture}, not of {name}")
    if not is_same:
        raise WeightsUnavailable(
            f"{file} says that images are normalised by mean {mean} and std {std}, but {name} normalises by "
            f"{list(built.mean)} and {list(built.std)}"
        )


def _copy(file: Path, tensors: Mapping[str, Tensor], target: Path) -> None:
    """Byte for byte if `target` has the same format; torch hub knows no safetensors."""
    with replacing(target) as out:
        if (file.suffix == ".safetensors") == (target.suffix == ".safetensors"):
            with file.open("rb") as source:
                shutil.copyfileobj(source, out)
        elif target.suffix == ".safetensors":
            out.write(save({key: tensor.clone() for key, tensor in tensors.items()}))
        else:
            torch.save(dict(tensors), out)
