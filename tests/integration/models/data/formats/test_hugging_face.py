"""Data sets that Hugging Face's `datasets` writes and reads: `imagefolder`, and parquet with the images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.data.archives import ArchiveLimits
from models.data.formats import DatasetFormat, FormatError, FormatOptions, features, read
from models.data.formats.lists import rows
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.report import FileCode, ImportReport, ProblemCode
from models.data.store import Store
from tests.support.manifests import labels, readings
from tests.unit.models.data.conftest import MakeImage, MakeTree

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def json_rows(*rows: dict[str, Any]) -> str:
    return "\n".join(map(json.dumps, rows))


def test_an_image_folder_with_a_list_in_each_split(make_tree: MakeTree) -> None:
    tree = make_tree(
        {
            "train/metadata.csv": "file_name,label,Site\na.png,cat,Berlin\nsub/b.png,dog,\n",
            "test/metadata.jsonl": json_rows(
                {"file_name": "c.png", "label": "dog", "age": 3, "boxes": [1], "seen": True}
            ),
            **dict.fromkeys(["train/a.png", "train/sub/b.png", "test/c.png", "test/d.png"], ""),
        }
    )
    manifest = read(tree)
    assert manifest.format is DatasetFormat.HUGGING_FACE
    assert labels(manifest) == {"train/a.png": "cat", "train/sub/b.png": "dog", "test/c.png": "dog"}
    assert {entry.path: (entry.split, entry.metadata) for entry in manifest.entries} == {
        "train/a.png": ("train", ("", "", "Berlin")),
        "train/sub/b.png": ("train", ("", "", "")),
        "test/c.png": ("test", ("3", "true", "")),
    }
    assert manifest.metadata_names == ("age", "seen", "Site")
    assert readings(manifest.columns) == {
        "file_name": "path",
        "label": "label",
        "Site": "metadata",
        "age": "metadata",
        "boxes": "ignored",
        "seen": "metadata",
    }
    assert [rejection.path for rejection in manifest.ignored] == ["test/d.png"]


def test_class_folders_are_the_classes_of_a_list_without_labels(make_tree: MakeTree) -> None:
    rows = [{"file_name": "train/cat/a.png", "patient": 7}, {"file_name": "train/dog/b.png", "patient": 8}]
    tree = make_tree({"metadata.jsonl": json_rows(*rows), "train/cat/a.png": "", "train/dog/b.png": ""})
    manifest = read(tree)
    assert labels(manifest) == {"train/cat/a.png": "cat", "train/dog/b.png": "dog"}
    assert [(entry.split, entry.subject) for entry in manifest.entries] == [("train", "7"), ("train", "8")]


def test_a_list_without_labels_or_folders_names_its_columns(make_tree: MakeTree) -> None:
    tree = make_tree({"metadata.csv": "file_name,text\na.png,x\nb.png,y\n", "a.png": "", "b.png": ""})
    with pytest.raises(FormatError, match=r"'file_name', 'text'.*options\.label"):
        read(tree)
    assert labels(read(tree, options=FormatOptions(label="text"))) == {"a.png": "x", "b.png": "y"}


INFO = {"features": {"kind": {"names": ["dog", "cat"], "_type": "ClassLabel"}, "n": {"dtype": "int64"}}}
README = """---
license: mit
dataset_info:
  features:
  - name: image
    dtype: image
  - name: kind
    dtype:
      class_label:
        names:
          '0': dog
          '1': cat
---
# Pets
"""


@pytest.mark.parametrize(
    "described",
    [
        {"dataset_info.json": json.dumps(INFO)},
        {"dataset_infos.json": json.dumps({"default": INFO})},
        {"README.md": README},
    ],
)
def test_numbers_of_a_class_label_have_names(make_tree: MakeTree, described: dict[str, str]) -> None:
    table = "file_name,kind,n\na.png,1,1\nb.png,0,0\nc.png,-1,1\n"
    tree = make_tree({"metadata.csv": table, **described, **dict.fromkeys(["a.png", "b.png", "c.png"], "")})
    manifest = read(tree)
    assert manifest.classes == ("dog", "cat")
    assert labels(manifest) == {"a.png": "cat", "b.png": "dog"}
    assert [entry.metadata for entry in manifest.entries] == [("1",), ("0",)]
    assert [(r.path, r.code) for r in manifest.rejected] == [("c.png", FileCode.MISSING_LABEL)]


@pytest.mark.parametrize(
    "readme",
    [
        "---\n- [\n---\n",
        "---\nfeatures: 3\n---\n",
        "---\n" + "[" * 1000 + "\n---\n",
        "---\na: &a [x]\nb: &b {<<: [*a, *a]}\n---\n",
        "---\ndataset_info: {features: [{name: kind, dtype: {class_label: {names: {x: dog}}}}]}\n---\n",
        f"---\nx: &x cat\n{README.removeprefix('---').replace('dog', '*x')}",
        README.replace("dog", "[dog]"),
        README.replace("dog", "{dog: cat}"),
        "no head",
    ],
)
def test_a_readme_that_says_nothing_of_classes(tmp_path: Path, readme: str) -> None:
    (tmp_path / "README.md").write_text(readme)
    assert features.names_beside(tmp_path) == {}


def test_names_in_a_readme_are_the_texts_that_stand_there(tmp_path: Path) -> None:
    readme = README.replace("dog", "yes").replace("cat", "2024-01-01")
    (tmp_path / "README.md").write_text(readme)
    assert features.names_beside(tmp_path) == {"kind": ["yes", "2024-01-01"]}


def test_a_list_in_parquet(make_tree: MakeTree, tmp_path: Path) -> None:
    tree = make_tree({"a.png": "", "b.png": ""})
    table = pa.table(
        {
            "file_name": ["a.png", "b.png"],
            "label": pa.array(["cat", "dog"]).dictionary_encode(),
            "age": [1.5, None],
            "vector": [[1], [2]],
        }
    )
    pq.write_table(table, tree / "metadata.parquet")
    manifest = read(tree)
    assert labels(manifest) == {"a.png": "cat", "b.png": "dog"}
    assert [entry.metadata for entry in manifest.entries] == [("1.5",), ("",)]
    assert readings(manifest.columns)["vector"] == "ignored"


# --- parquet with the images ---


def write_shard(path: Path, images: list[dict[str, Any] | None], **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": pa.array(images, IMAGE), **columns}), path, compression="zstd")


def import_shards(tmp_path: Path, **options: Any) -> ImportReport:
    return import_dataset(tmp_path / "shards", tmp_path / "ds", ImportOptions(**options))


def test_images_come_out_of_parquet_as_they_went_in(tmp_path: Path, make_image: MakeImage) -> None:
    encoded = [make_image(seed) for seed in range(30)]
    for split, chosen in (("train", range(20)), ("test", range(20, 30))):
        write_shard(
            tmp_path / "shards" / "data" / f"{split}-00000-of-00001.parquet",
            [{"bytes": encoded[n], "path": f"deep/{n}.jpg" if n else None} for n in chosen],
            label=[n % 2 for n in chosen],
            site=["Rome" if n % 3 else None for n in chosen],
            vector=[[n] for n in chosen],
        )
    (tmp_path / "shards" / "README.md").write_text("pets")
    report = import_shards(tmp_path)
    assert (report.state, report.format, report.count) == ("ready", "hugging_face", 30)
    assert readings(report.columns) == {
        "image": "path",
        "label": "label",
        "site": "metadata",
        "vector": "ignored",
    }
    assert [rejection.path for rejection in report.ignored] == ["README.md"]
    store = Store.open(tmp_path / "ds")
    paths = [f"{'train' if n < 20 else 'test'}/{n or '000010'}.png" for n in range(30)]
    assert {store.sample(row).path: store.image_bytes(row) for row in range(30)} == dict(
        zip(paths, encoded, strict=True)
    )
    assert [store.sample(row).label for row in range(30)] == [n % 2 for n in range(30)]
    assert store.sample(1).metadata == {"site": None}
    assert store.sample(0).metadata == {"site": "Rome"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ds", "shards"]


def test_images_of_one_name_and_hostile_names(tmp_path: Path, make_image: MakeImage) -> None:
    names = ["../../x.png", "x.png", "/etc/X.PNG", "a\x00b.png", "y\u202e.png", "", ".png", "w\\z.png"]
    images: list[dict[str, Any] | None] = [
        {"bytes": make_image(seed), "path": name} for seed, name in enumerate(names)
    ]
    images += [{"bytes": None, "path": "gone.png"}, None]
    write_shard(tmp_path / "shards" / "a.parquet", images, label=["cat", "dog"] * 5)
    report = import_shards(tmp_path)
    assert report.count == 8
    assert {r.code for r in report.rejected} == {FileCode.MISSING_FILE, FileCode.BAD_PATH}
    paths = [Store.open(tmp_path / "ds").sample(row).path for row in range(8)]
    assert len(set(paths)) == 8
    assert all(path.startswith("images/") and path.isprintable() for path in paths)


def test_a_column_of_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One value that all rows share, so that no header says how much they are."""
    monkeypatch.setattr(rows, "MAX_MEMORY", 32 << 20)
    (tmp_path / "shards").mkdir()
    path = tmp_path / "shards" / "a.parquet"
    value = pa.array([bytes(24 << 20)], pa.binary())
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), value)
    images = pa.StructArray.from_arrays([same, pa.nulls(256, pa.string())], ["bytes", "path"])
    pq.write_table(
        pa.table({"image": images}), path, compression="zstd", store_schema=False, write_statistics=False
    )
    assert pq.read_metadata(path).row_group(0).total_byte_size < 2 * (24 << 20)
    report = import_shards(tmp_path)
    assert [problem.code for problem in report.problems] == [ProblemCode.TOO_MANY_BYTES]
    assert "decode" in report.problems[0].detail


def test_rows_of_nothing_are_counted_like_entries_of_an_archive(tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "a.parquet", [None] * 200, label=["a"] * 200)
    report = import_shards(tmp_path, archive=ArchiveLimits(max_entries=100))
    assert [problem.code for problem in report.problems] == [ProblemCode.TOO_MANY_ENTRIES]


def test_parquet_without_images_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.table({"image": [b"x"], "label": [1]}), tmp_path / "shards" / "a.parquet")
    assert "bytes and path" in import_shards(tmp_path).problems[0].detail
    (tmp_path / "shards" / "a.parquet").write_bytes(b"PAR1 damaged PAR1")
    assert "cannot be read" not in import_shards(tmp_path).problems[0].detail
    assert "write it again" in import_shards(tmp_path).problems[0].detail


def test_two_columns_of_images(tmp_path: Path, make_image: MakeImage) -> None:
    image = {"bytes": make_image(), "path": None}
    write_shard(tmp_path / "shards" / "a.parquet", [image], img=pa.array([image], IMAGE), label=[1])
    (problem,) = import_shards(tmp_path).problems
    assert problem.code is ProblemCode.AMBIGUOUS_LIST
    assert "'image', 'img'" in problem.detail


def test_files_whose_columns_have_other_names_and_types(tmp_path: Path, make_image: MakeImage) -> None:
    (tmp_path / "shards").mkdir()
    for file, column in enumerate(("image", "img")):
        images = [{"bytes": make_image(10 * file + n), "path": f"{n}.png"} for n in range(10)]
        table = pa.table(
            {column: pa.array(images, IMAGE), "label": ["cat", "dog"] * 5, column + "_n": [1] * 10}
        )
        pq.write_table(table, tmp_path / "shards" / f"{file}.parquet")
    report = import_shards(tmp_path)
    assert (report.state, report.count) == ("ready", 20)
    assert readings(report.columns) == {
        "image": "path",
        "img": "path",
        "label": "label",
        "image_n": "metadata",
        "img_n": "metadata",
    }
