"""Which uploaded file a list means, where it may name it from another folder or by an address."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from models.data.formats.manifest import Listing, is_image_name
from models.data.splits import canonical_split

_MAX_DEPTH = 32  # of a path in an upload; a name in a list may have any number of slashes


def split_in(name: str) -> str:
    """The split that a word of a name means (`instances_train2017.json`), or an empty text."""
    words = (canonical_split(word) for word in re.split(r"[\W\d_]+", name))
    return next((split for split in words if split), "")


class ImageFiles:
    """The image files of an upload, to be looked up by the `names` that its lists have for them.

    A name means the file whose path ends in it. Where there is none, its first folders are left out, as long
    as no other name and no other file ends alike: `s3://bucket/a/1.jpg` means `a/1.jpg`, and `b/1.jpg` never
    does. Of several files, the one in a folder of the image's split is meant.
    """

    def __init__(self, listing: Listing, names: Iterable[str]) -> None:
        self._files: dict[str, list[str]] = defaultdict(list)
        for path in filter(is_image_name, listing.files):
            for end in _ends(path):
                self._files[end].append(path)
        self._of_split: dict[tuple[str, str], list[str]] = defaultdict(list)
        """Of ends that several files have: those of most uploads are of one, and take 150 MB for 200,000."""
        for end, paths in self._files.items():
            if len(paths) > 1:
                for path in paths:
                    self._of_split[split_in(path.rpartition("/")[0]), end].append(path)
        self._names = Counter(end for name in set(names) for end in _ends(name))

    def find(self, name: str, split: str) -> Sequence[str]:
        """The paths of the files that it could be: one if it is clear."""
        for left_out, end in enumerate(_ends(name)):
            if left_out and self._names[end] > 1:
                return ()
            if files := self._files.get(end, ()):
                if len(files) == 1:
                    return files
                of_split = self._of_split.get((canonical_split(split) or "", end), ())
                return of_split if len(of_split) == 1 else files
        return ()


def _ends(path: str) -> Iterator[str]:
    """The path, and what is left of it as its first folders are left out, one by one."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    nearest = parts[-_MAX_DEPTH:]
    return ("/".join(nearest[first:]) for first in range(len(nearest)))
