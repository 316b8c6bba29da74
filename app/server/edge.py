"""The edge: what every request passes before the application, in one class.

In order: who is asking (`Proxies`), whether the head is in order and no page of another site sent it
(`Guard`), whether there is a place for a prediction, whether the declared length of the body is within the
limit. The rest, from the request's id to its line in the log, is for its `Exchange`.

With a small network, overload saturates the event loop rather than the engine's queue. So a prediction is
refused by its head, with an answer that was written before, and counted but not logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from app.http.headers import header
from app.server.clock import CLOCK, Clock, TimeLimits
from app.server.cross_origin import PREFLIGHT, CrossOrigin
from app.server.exchange import ANSWER_HEADERS, Exchange, too_large
from app.server.guard import Guard
from app.server.proxies import Proxies
from app.server.refusing import Header, as_bytes
from core.errors import problem
from masktune.contract.problems import PROBLEM_KINDS, ErrorCode

if TYPE_CHECKING:  # torch's neighbours: the dashboard alone, which has neither, starts without them
    from app.inference import Admission
    from app.operations.metrics import Metrics
    from core.settings import Settings

LimitOf = Callable[[Scope], int]
"""Returns the limit, in bytes, for the body of this request."""

FRAMING = 1 << 20
"""Allowance for the boundaries and small fields around the files of a multipart body."""
_PREDICTED = frozenset({"/predict", "/saliency", "/ui/upload/image"})
"""Paths that need a place. The last is the dashboard's, for an image to predict."""
_POLICY_VIOLATION = 1008
"""Close code of a web socket (RFC 6455, 7.4.1)."""
_OVERLOADED = PROBLEM_KINDS[ErrorCode.OVERLOADED].status


def limit_of(settings: Settings) -> LimitOf:
    """Return a function from ASGI scope to limit in bytes.
    Uploads and images have their own limits.

    JSON has the small limit on every route. A form may hold as many images as fit in memory together; any
    other image body is one image.
    """
    upload = settings.max_upload_bytes + FRAMING
    images_of_form = settings.max_image_bytes * settings.max_images_per_request
    form = min(images_of_form, max(settings.predict_image_bytes, settings.max_image_bytes)) + FRAMING
    uploads, images = ("/datasets", "/models"), ("/predict", "/saliency")
    forms = dict.fromkeys(uploads, upload) | dict.fromkeys(images, form)
    others = dict.fromkeys(uploads, upload) | dict.fromkeys(images, settings.max_image_bytes)

    def limit(scope: Scope) -> int:
        if scope["method"] != "POST":
            return settings.max_body_bytes
        kind = header(scope, b"content-type").decode("latin-1").partition(";")[0].strip().lower()
        if kind in ("", "application/json") or kind.endswith("+json"):
            return settings.max_body_bytes
        large = forms if kind == "multipart/form-data" else others
        return large.get(scope["path"].removeprefix(scope.get("root_path", "")), settings.max_body_bytes)

    return limit


class Edge:
    """Around an API, or around the pages of the dashboard.

    With `limit_of` it is an API: bodies have limits, and requests an id, a line in the log and metrics.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        proxies: Proxies,
        guard: Guard,
        admission: Admission | None = None,
        metrics: Metrics | None = None,
        limit_of: LimitOf | None = None,
        cross_origin: CrossOrigin | None = None,
    ) -> None:
        self._app, self._proxies, self._guard = app, proxies, guard
        self._admission, self._metrics, self._limit_of = admission, metrics, limit_of
        self._cross_origin = cross_origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        await self._proxies.apply(scope)
        clock: Clock = scope.setdefault("state", {}).get(CLOCK) or Clock(TimeLimits())
        with clock.request():
            refusal = await self._guard.refusal(scope)
            if scope["type"] == "websocket":
                if refusal is None:
                    await self._app(scope, receive, send)
                else:
                    await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
                return None
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            app, admission = self._app, self._admission if path in _PREDICTED and refusal is None else None
            if self._cross_origin is not None:
                scope["state"][ANSWER_HEADERS] = self._cross_origin.headers(scope)
                if refusal is None and self._cross_origin.is_preflight(scope):
                    app, admission = PREFLIGHT, None
            if admission is not None and admission.full:
                return await self._refuse(admission, path, Exchange(clock, scope, receive, send, is_api=True))
            length, limit = header(scope, b"content-length"), None
            if self._limit_of is not None and (length or header(scope, b"transfer-encoding")):
                limit = self._limit_of(scope)
                if refusal is None and length.isdigit() and int(length) > limit:
                    refusal, admission = too_large(limit), None
            exchange = Exchange(clock, scope, receive, send, is_api=self._limit_of is not None)
            metrics = None if self._limit_of is None else self._metrics
            return await exchange.run(app, refusal, limit=limit, admission=admission, metrics=metrics)

    async def _refuse(self, admission: Admission, path: str, exchange: Exchange) -> None:
        """Refuse a prediction, for which there is no place."""
        admission.note_refusal()
        if self._metrics is not None:
            self._metrics.answered(exchange.scope["method"], path, _OVERLOADED, None)
        await exchange.answer(_OVERLOADED, *_no_place(exchange.scope["path"]))
        await exchange.finish()


@lru_cache(maxsize=16)  # of a few paths
def _no_place(path: str) -> tuple[Sequence[Header], bytes]:
    detail = "too many requests are being handled; try again in 1 s"
    return as_bytes(problem(ErrorCode.OVERLOADED, detail, instance=path), (b"retry-after", b"1"))
