"""A pass as another worker's process makes it from its description."""

from __future__ import annotations

from worker.child.passes import rebuilt_pass
from worker.context import StageContext
from worker.passes.shards import ShardedPass
from worker.protocol import PassSpec


def rebuilt(context: StageContext, own: ShardedPass) -> ShardedPass:
    """The same pass, rebuilt; its key and the sizes of its shards are those of the job's `own`."""
    assert own.arguments is not None
    spec = PassSpec(
        stage=context.stage,
        name=own.name,
        arguments=own.arguments,
        key=context.key_of(own),
        title=own.title,
        kind="cpu",
        threads=1,
    )
    other = rebuilt_pass(context, spec)
    assert (other.key, other.sizes) == (own.key, own.sizes)
    return other
