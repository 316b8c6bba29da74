"""Behind a proxy's prefix: what pages name is where the browser asks for it, whoever knows the prefix."""

from __future__ import annotations

import re

import pytest

from tests.integration.web.conftest import Browse

CASES = [
    ("", "", ""),
    ("/mt", "", "/mt"),  # MASKTUNE_ROOT_PATH alone
    ("", "/mt", "/mt"),  # the header alone
    ("/mt", "/mt", "/mt"),  # both say the same
    ("/mt", "/mt/", "/mt"),
    ("/mt", "/a/mt", "/a/mt"),  # the header says all of it
    ("/mt", "/a", "/a/mt"),  # a proxy before the proxy
    ("", "//evil.example", ""),
    ("", '/"><script>', ""),
    ("/mt", "/x/mtx", "/x/mtx/mt"),  # no part of a name is taken for a prefix
]


@pytest.mark.parametrize(("root", "header", "prefix"), CASES)
def test_links_and_assets_have_the_prefix(browse: Browse, root: str, header: str, prefix: str) -> None:
    headers = {"X-Forwarded-Prefix": header} if header else {}
    browser = browse(root_path=root, headers=headers)
    page = browser.get(f"{root}/ui/jobs")
    assert page.status_code == 200
    named = set(re.findall(r"""["'](/[^"' ]+)["']""", page.text))  # links, scripts, where the socket is
    assert len(named) > 8
    assert all(re.fullmatch(rf"{prefix}/ui(/.*)?", address) for address in named), named
    for kind in (rf"{prefix}/ui/static/", rf"{prefix}/ui/_nicegui/.*\.css"):
        asset = next(address for address in sorted(named) if re.match(kind, address))
        # The proxy takes its prefix away, the server puts its own before what comes.
        assert browser.get(root + asset.removeprefix(prefix)).status_code == 200, asset


@pytest.mark.parametrize(("root", "header", "prefix"), CASES)
def test_the_key_form_keeps_the_prefix(browse: Browse, root: str, header: str, prefix: str) -> None:
    headers = {"X-Forwarded-Prefix": header} if header else {}
    browser = browse(root_path=root, headers=headers)
    wanted = {"key": "a", "next": f"{prefix}/ui/models"}
    kept = browser.post(f"{root}/ui/key", data=wanted, follow_redirects=False)
    assert kept.headers["location"] == f"{prefix}/ui/models"
    assert f"Path={prefix}/ui;" in kept.headers["set-cookie"]
