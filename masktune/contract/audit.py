"""The audit log: who changed what."""

from __future__ import annotations

from pydantic import Field

from masktune.contract.base import Shape, Time


class AuditEntry(Shape):
    """A change that a caller made."""

    id: str
    created_at: Time = Field(description="When the change was made.")
    actor: str = Field(
        description="Id of the key that made it, or `user:` and the name of the person; `operator` for a key "
        "of `MASKTUNE_API_KEYS`, `anyone` if the service required no key."
    )
    actor_name: str | None = Field(None, description="Name of the key or the person.")
    action: str = Field(
        description="Id of the operation in this document.", examples=["delete_dataset", "start_masktune"]
    )
    object: str = Field(
        description="What was changed or created: its id, or its name if the request names it."
    )
    status: int = Field(description="Status of the answer, always a success.")
    request_id: str = Field(description="`X-Request-ID` of the request; it is in the log.")
    address: str | None = Field(None, description="Where the request came from, as the proxy in front tells.")
