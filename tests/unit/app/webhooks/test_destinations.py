"""Where webhooks may go, by what their hosts' names resolve to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.webhooks.destinations import Destinations, resolve
from core.errors import InvalidInput

PUBLIC, PUBLIC_6 = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"


def check(url: str, *addresses: str, allowed: str = "") -> str:
    """The address to connect to, for a host with these addresses."""
    names: list[str] = []

    def addresses_of(name: str) -> Sequence[str]:
        names.append(name)
        return addresses

    _, connect_to = Destinations(allowed, addresses_of).check(url)
    assert len(names) == 1, "a second answer could be another"
    return str(connect_to)


def refusal(url: str, *addresses: str, allowed: str = "") -> str:
    with pytest.raises(InvalidInput) as caught:
        check(url, *addresses, allowed=allowed)
    (error,) = caught.value.errors
    assert error.pointer == "/url"
    assert not any(address in error.detail for address in addresses)
    return error.code


@pytest.mark.parametrize(
    ("url", "address", "connect_to"),
    [
        ("https://hooks.example/a?b=c", PUBLIC, f"https://{PUBLIC}/a?b=c"),
        ("https://hooks.example:8443/a", PUBLIC, f"https://{PUBLIC}:8443/a"),
        ("https://hooks.example/", PUBLIC_6, f"https://[{PUBLIC_6}]/"),
        ("https://bücher.example/", PUBLIC, f"https://{PUBLIC}/"),
    ],
)
def test_the_connection_is_made_to_the_address_that_was_checked(
    url: str, address: str, connect_to: str
) -> None:
    assert check(url, address) == connect_to


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.100.200",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "192.0.2.1",
        "192.0.0.9",
        "192.31.196.1",
        "192.52.193.1",
        "192.88.99.1",
        "192.175.48.1",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:93.184.216.34",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2001::1",
        "2001:1::1",
        "2001:db8::1",
        "2620:4f:8000::1",
        "3fff::1",
    ],
)
def test_hosts_that_are_not_public_are_refused(address: str) -> None:
    assert refusal("https://hooks.example/", address) == "not-allowed"
    assert refusal("https://hooks.example/", PUBLIC, address) == "not-allowed", "none of several may be"


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"]
)
def test_no_spelling_of_loopback_passes(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Destinations("", resolve).check(f"https://{name}/")
    assert caught.value.errors[0].code == "not-allowed"


@pytest.mark.parametrize("allowed", ["Hooks.internal", "a,10.1.2.3", "10.0.0.0/8 , b"])
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_what_the_operator_allows_may_be_private_and_without_encryption(allowed: str, scheme: str) -> None:
    assert check(f"{scheme}://hooks.internal/", "10.1.2.3", allowed=allowed) == f"{scheme}://10.1.2.3/"
    assert refusal(f"{scheme}://other.internal/", "10.2.0.0", allowed="hooks.internal,10.1.0.0/16")


def test_public_hosts_need_https() -> None:
    assert refusal("http://hooks.example/", PUBLIC, allowed="10.0.0.0/8") == "not-https"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "/hook",
        "https://",
        "https:///hook",
        "ftp://hooks.example/",
        "file:///etc/passwd",
        "https://user:secret@hooks.example/",
        "https://hooks.example:0/",
        "https://hooks.example:65536/",
        "https://hooks.example:x/",
        "https://hooks\u202e.example/",
    ],
)
def test_what_is_no_address_of_a_page_is_refused(url: str) -> None:
    assert refusal(url, PUBLIC) == "invalid-address"


def test_a_name_without_an_address_is_refused() -> None:
    for name in ("nowhere.invalid", "a" * 64 + ".example", "exa mple.example"):
        with pytest.raises(InvalidInput) as caught:
            Destinations("", _unknown if len(name) < 64 else resolve).check(f"https://{name}/")
        assert caught.value.errors[0].code == "unknown-host"


def _unknown(name: str) -> Sequence[str]:
    raise OSError(-2, "Name or service not known")
