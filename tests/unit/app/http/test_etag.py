"""ETags and conditional answers."""

import pytest
from pydantic import BaseModel
from starlette.requests import Request

from app.http.responses import conditional, etag_of, matches, represent


class Thing(BaseModel):
    name: str = "a"


def asking(etag: str | None) -> Request:
    headers = [] if etag is None else [(b"if-none-match", etag.encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


def test_the_same_thing_has_the_same_etag_and_another_another() -> None:
    assert represent(Thing()).headers["ETag"] == represent(Thing()).headers["ETag"]
    assert represent(Thing()).headers["ETag"] != represent(Thing(name="b")).headers["ETag"]


@pytest.mark.parametrize("wrap", ["{}", "W/{}", '"x", {}', "*"])
def test_a_client_that_has_it_gets_304_without_a_body(wrap: str) -> None:
    etag = etag_of(Thing().model_dump_json().encode())
    answer = conditional(asking(wrap.format(etag)), Thing())
    assert (answer.status_code, answer.body) == (304, b"")
    assert answer.headers["ETag"] == etag


@pytest.mark.parametrize("etag", [None, '"other"', "", "garbage"])
def test_a_client_that_has_something_else_gets_it(etag: str | None) -> None:
    answer = conditional(asking(etag), Thing())
    assert (answer.status_code, answer.body) == (200, b'{"name":"a"}')


def test_a_part_of_an_etag_does_not_match() -> None:
    assert not matches('"abcdef"', '"abc"')
