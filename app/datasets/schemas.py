"""Shapes of data sets: requests and responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, GetJsonSchemaHandler, StringConstraints
from pydantic_core.core_schema import CoreSchema, union_schema

from masktune.contract.base import Options, Storable, Strict
from masktune.contract.vocabulary import DatasetFormat
from models.data.biased import Assignment, BiasKind

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
    Storable,
]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1, description="Seed of the splits that the import makes.")]
ClassName = Annotated[str, StringConstraints(min_length=1, max_length=200), Storable]


class FormatOptions(Strict):
    """`options` of an upload or an address."""

    classes: list[ClassName] | None = Field(
        None, min_length=2, max_length=100_000, description="The class list; other labels are rejected."
    )
    target: ClassName = Field("Blond_Hair", description="The CelebA attribute to use as the label.")
    group: ClassName = Field("Male", description="The CelebA attribute that defines the groups.")


class BuiltinOptions(Strict):
    """`options` of a builtin data set."""

    download: bool = Field(False, description="Whether MNIST, CIFAR-10 and SVHN may be downloaded.")
    size: int = Field(28, ge=8, le=256, description="Side of the digits in pixels.")
    kind: BiasKind = Field("square", description="What the shortcut of a biased set looks like.")
    ratio: float = Field(0.99, gt=0.5, lt=1, description="Share of the first class that has the shortcut.")
    assignment: Assignment = Field("random", description="`order`: as in the paper's released code.")


@dataclass(frozen=True)
class _Of:
    """Documents a JSON object's fields in OpenAPI. The service validates them once it knows the source."""

    kinds: tuple[type[BaseModel], ...]

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(union_schema([kind.__pydantic_core_schema__ for kind in self.kinds]))


class UploadRequest(Strict):
    """The fields that accompany an uploaded file."""

    name: Name
    format: DatasetFormat = Field(DatasetFormat.AUTO, strict=False)  # a JSON string, not yet the enum
    options: Annotated[Options, _Of((FormatOptions,))] = Field(
        default={}, description="A JSON object: the class list, and which CelebA attributes to use."
    )
    seed: Seed = 0


class SourceRequest(UploadRequest):
    """A data set made from what the service can reach itself."""

    options: Annotated[Options, _Of((BuiltinOptions, FormatOptions))] = Field(
        default={}, description="A JSON object: the first shape for `builtin:NAME`, else the second."
    )
    source: Annotated[str, StringConstraints(min_length=1, max_length=2000), Storable] = Field(
        description="`builtin:NAME`, or a `file://…` or `s3://…` address that the operator allows.",
        examples=["builtin:biased-digits"],
    )
