"""Routes that are not pages: setting the key, and files of the API, passed on with the visitor's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from masktune import ClientError
from masktune.client.calls import get, open_body
from masktune.client.models import EXPORT_SECONDS
from masktune.client.wire import Emit, EmittingFlow, Read
from masktune.client.wire import Request as ApiRequest
from web.shell import error_page
from web.transport.connection import KEY_COOKIE, UNSENDABLE, api_for, is_sendable, link
from web.transport.errors import accepts_html, refusal

router = APIRouter(include_in_schema=False)

Id = Annotated[str, Path(pattern=r"^[A-Za-z0-9][\w.-]*$")]
"""An id or an alias, which goes into the API's path as it is."""

FOREVER = {"Cache-Control": "private, max-age=86400, immutable"}
"""For responses that never change: a sample's image, and a report's pictures."""
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""The Content-Security-Policy of a report, which loads nothing."""


# --- the key -----------------------------------------------------------------------------------


@router.post("/key")
async def set_key(
    request: Request, key: Annotated[str, Form()] = "", next: Annotated[str, Form()] = ""
) -> Response:
    """Store the key in a cookie, or delete it, then redirect to the page that the visitor wanted.

    A key that cannot be sent in a header is not stored: the target page says so at its key form.
    """
    home = link("/", request)
    target = next if next.startswith(home) and "//" not in next else home
    if not is_sendable(key.strip()):
        return RedirectResponse(f"{target}{'&' if '?' in target else '?'}{UNSENDABLE}", status_code=303)
    response = RedirectResponse(target, status_code=303)
    path = link("", request) or "/"
    if key.strip():
        secure = request.url.scheme == "https" or request.headers.get("X-Forwarded-Proto") == "https"
        response.set_cookie(
            KEY_COOKIE, key.strip(), path=path, httponly=True, samesite="strict", secure=secure
        )
    else:
        response.delete_cookie(KEY_COOKIE, path=path)
    return response


# --- files ---------------------------------------------------------------------------------------


@router.get("/files/datasets/{dataset}")
async def dataset_json(request: Request, dataset: Id) -> Response:
    return await _relay(request, get(f"/datasets/{dataset}"))


@router.get("/files/datasets/{dataset}/download")
async def dataset_zip(request: Request, dataset: Id) -> Response:
    return await _relay(request, get(f"/datasets/{dataset}/download"))


@router.get("/files/datasets/{dataset}/samples")
async def sample_table(request: Request, dataset: Id) -> Response:
    """The samples that pass the filters in the address, as a table."""
    api_request = get(f"/datasets/{dataset}/samples")
    query = dict(request.query_params)
    return await _relay(request, replace(api_request, query=query, headers={"Accept": "text/csv"}))


@router.get("/files/datasets/{dataset}/samples/{sample}/image")
async def sample_image(
    request: Request,
    dataset: Id,
    sample: int,
    format: Annotated[Literal["png"] | None, Query(alias="as")] = None,
    side: int | None = None,
) -> Response:
    image = get(f"/datasets/{dataset}/samples/{sample}/image", **{"as": format, "side": side})
    return await _relay(request, image, headers=FOREVER)


@router.get("/files/reviews/{review}/image")
async def review_image(request: Request, review: Id) -> Response:
    return await _relay(request, get(f"/reviews/{review}/image"), "/reviews")


@router.get("/files/jobs/{job}/report")
async def report_page(request: Request, job: Id) -> Response:
    """The report as the self-contained HTML page that the API generates."""
    api_request = replace(get(f"/jobs/{job}/report"), headers={"Accept": "text/html"})
    return await _relay(request, api_request, "/jobs", {"Content-Security-Policy": REPORT_POLICY})


@router.get("/files/jobs/{job}/report/pictures/{name}")
async def report_picture(request: Request, job: Id, name: Id) -> Response:
    return await _relay(request, get(f"/jobs/{job}/report/pictures/{name}"), headers=FOREVER)


@router.get("/files/jobs/{job}/predictions")
async def predictions(request: Request, job: Id) -> Response:
    return await _relay(request, get(f"/jobs/{job}/predictions"), "/jobs")


@router.get("/files/models/{model}/download")
async def download(request: Request, model: Id) -> Response:
    """The file that the address asks for, for a bundle with its policy."""
    api_request = replace(get(f"/models/{model}/download"), query=dict(request.query_params))
    if api_request.query.get("format", "safetensors") != "safetensors":
        api_request = replace(api_request, answer_seconds=EXPORT_SECONDS)
    return await _relay(request, api_request, "/models")


async def _relay(
    request: Request, api_request: ApiRequest, place: str = "/", headers: Mapping[str, str] | None = None
) -> Response:
    """Pass a file of the API on to the browser while it arrives.

    An error is a page, with a link to `place`, for a person who followed a link, and JSON for a script.
    """
    parts = api_for(request).driver.iterate(_headers_and_chunks(api_request))
    try:
        sent = await anext(parts)
    except ClientError as error:
        return error_page(request, error, place) if accepts_html(request) else refusal(error)
    passed = {name: sent[name] for name in ("content-type", "content-disposition") if name in sent}
    return StreamingResponse(parts, headers=passed | dict(headers or {}))


def _headers_and_chunks(api_request: ApiRequest) -> EmittingFlow[Any]:
    """Emit the headers of the answer, then its body in pieces."""
    body = yield from open_body(api_request)
    yield Emit(body.response.headers)
    while chunk := (yield Read(body)):
        yield Emit(chunk)
