"""The names of classes that a Hugging Face data set keeps apart from its numbers: its `ClassLabel` features.

They are in the metadata of a parquet file, in `dataset_info.json`, or at the head of `README.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

Names = Mapping[str, Sequence[str]]
"""Column → the class of each number."""

_MAX_BYTES = 1 << 20
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


class _PlainLoader(yaml.BaseLoader):
    """Lists, objects and texts. Aliases are refused: half a kilobyte of them describes billions of names."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As the library does, but for aliases."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def names_in_schema(schema: pa.Schema) -> Names:
    """From the metadata that `datasets` writes into a parquet file."""
    return _names(json.loads, (schema.metadata or {}).get(b"huggingface", b"{}").decode(errors="replace"))


def names_beside(folder: Path) -> Names:
    """From the files of a data set, the first that has any."""
    readers: Mapping[str, Callable[[str], Any]] = {
        "dataset_info.json": json.loads,
        "dataset_infos.json": json.loads,
        "README.md": _front_matter,
    }
    for name, parse in readers.items():
        path = folder / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_BYTES:
            continue
        if names := _names(parse, path.read_text(encoding="utf-8", errors="replace")):
            return names
    return {}


def class_column(names: Names) -> str | None:
    """The column of the classes: `label` or the only one with names, None where that is not clear."""
    return "label" if "label" in names else next(iter(names)) if len(names) == 1 else None


def _front_matter(text: str) -> Any:
    match = _FRONT_MATTER.match(text)
    return match and _PlainLoader(match[1]).get_single_data()


def _names(parse: Callable[[str], Any], text: str) -> Names:
    """The names in a text; none where it cannot be read, since the numbers serve as names then."""
    try:
        return next(filter(None, map(_of_features, _features(parse(text)))), {})
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        return {}


def _features(described: Any) -> Sequence[Any]:
    """What is under `features`, be it for one configuration of the data set or for several by name."""
    match described:
        case {"features": features}:
            return (features,)
        case {"info": inner} | {"dataset_info": inner}:
            return _features(inner)
        case dict():
            return [features for inner in described.values() for features in _features_of(inner)]
        case list():
            return [features for inner in described for features in _features_of(inner)]
    return ()


def _features_of(configuration: Any) -> Sequence[Any]:
    return (
        (configuration["features"],)
        if isinstance(configuration, dict) and "features" in configuration
        else ()
    )


def _of_features(features: Any) -> Names:
    """Of the features of one configuration: an object by column in JSON, a list in YAML."""
    names: dict[str, Sequence[str]] = {}
    if isinstance(features, dict):
        for column, feature in features.items():
            match feature:
                case {"_type": "ClassLabel", "names": [*classes]}:
                    names[column] = _texts(classes)
    elif isinstance(features, list):
        for feature in features:
            match feature:
                case {"name": str(column), "dtype": {"class_label": {"names": [*classes]}}}:
                    names[column] = _texts(classes)
                case {"name": str(column), "dtype": {"class_label": {"names": {**by_number}}}}:
                    numbers = {int(str(number)): name for number, name in by_number.items()}
                    names[column] = _texts(numbers[number] for number in sorted(numbers))
    return names


def _texts(names: Iterable[Any]) -> Sequence[str]:
    """Names of classes as text. Raises `TypeError` for a list or an object."""
    texts = []
    for name in names:
        if isinstance(name, list | dict):
            raise TypeError("the name of a class is a list or an object")
        texts.append(str(name))
    return texts
