"""Answers for which schemathesis must not blame the service."""

from __future__ import annotations

import re
from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData

EXCUSED = re.compile(
    "|".join(
        (
            # What was sent before: another ETag, another body under the key, other metadata and versions.
            r" (precondition-failed|idempotency-key-reused)|/metadata too-many|/version unknown-version",
            # Only the service makes cursors.
            r"\?cursor invalid-cursor",
            # Which names there are depends on the data set, the model, the operator and what is installed.
            r".+ (unknown(-(backbone|builtin|class|method|preset|source))?|unsupported-backbone)",
            r"/source (invalid-address|not-allowed|not-found)",
            # What a data set or a model has, and which go together.
            r".+ (empty-split|no-groups|no-patterns|not-a-number|not-a-mask-set|not-calibrated|needs-erm)",
            r".+ (other-(backbone|layers|masks|optimizer)|model-of-another-dataset)",
            r".+ (no-models|not-succeeded|only-test|other-classes|trained-on|training-images-gone)",
            r"/dataset unlabelled",
            # Fields that exclude or need each other.
            r"/(backbone|dataset|image_size|model|label) missing",
            r".+ (needs-bundle|needs-job|needs-inferred-by|not-with-(dataset|job|source))",
            r".+ (invalid-value|needs-max-risk|not-used|one-image|one-policy|too-many-images)",
            # Where a webhook may go depends on what its host's name resolves to.
            r"/url (invalid-address|not-allowed|not-https|unknown-host)",
            # An address has a format and other options than a builtin data set; without labels, few apply.
            r"/(format|options/\S+) not-applicable|/options/\S+ unknown-field",
            # Rules that OpenAPI has no words for: ascending numbers, `{subject}` once, no name like an id.
            r"/options/grey_window value-error|/options/subject invalid-pattern|\{name\} like-an-id",
            # What is inside a file, or inside a text that is JSON.
            r"/file (not-an-archive|not-safetensors|header-too-large|does-not-fit)",
            r"/images/\d+ (not_an_image|too_small)",
            r"/ (missing|not-a-table)|/\d+/(id|outcome|label) \S+",
            r"/classes(/\d+)? \S+",
        )
    ),
    re.DOTALL,
)
"""Pointer and code of an error, or ` ` and the code of a problem without errors."""


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext,
    failure: Failure,
    case: schemathesis.Case[Any],
    response: schemathesis.Response,
) -> bool:
    """Drop a failure that is a refusal for excused reasons alone."""
    if isinstance(failure, AcceptedNegativeData):
        # The names in an exploded object are names of parameters, and others than `metadata.…` are ignored.
        return "parameter `metadata` in query" not in failure.message
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    errors = problem.get("errors") or [{"pointer": "", "code": problem["code"]}]
    return not all(EXCUSED.fullmatch(f"{error['pointer']} {error['code']}") for error in errors)
