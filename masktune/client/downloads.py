"""Downloads to a file that appears complete or not at all."""

from __future__ import annotations

from pathlib import Path

import httpx2

from masktune.client.calls import open_body
from masktune.client.errors import Unreachable
from masktune.client.uploads import OnSent
from masktune.client.wire import Body, Close, Flow, Policy, Read, Request, Retry


def download(request: Request, target: Path, on_received: OnSent | None = None) -> Flow[Path]:
    """Write the response body to `target`. Starts over if the connection breaks."""
    unfinished = target.with_name(f".{target.name}.part")
    retry: Retry = yield Policy()
    try:
        for attempt in range(1, retry.attempts + 1):
            body = yield from open_body(request)
            try:
                yield from _receive(body, unfinished, on_received)
            except httpx2.TransportError as error:
                if attempt == retry.attempts:
                    raise Unreachable(f"the connection broke {attempt} times during the download") from error
                yield Close(body)
                continue
            unfinished.replace(target)
            break
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def _receive(body: Body, target: Path, on_received: OnSent | None) -> Flow[None]:
    total, received = int(body.response.headers.get("Content-Length", 0)), 0
    with target.open("wb") as file:
        while chunk := (yield Read(body)):
            file.write(chunk)
            received += len(chunk)
            if on_received is not None:
                on_received(received, max(total, received))
