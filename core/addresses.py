"""Checks that the addresses in the settings are of supported kinds, without connecting to them.

Error messages name only the scheme of an address, since the rest may contain a password.
"""

from __future__ import annotations

import ipaddress
import re
from importlib.util import find_spec

_ORIGIN = re.compile(r"(?!.*:(80|443)$)https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")
_BROKERS = ("redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp")
_DATABASES = ("postgresql", "sqlite")


def check_addresses(database: str, broker: str, storage: str) -> None:
    """Raise ValueError if one of these URLs, unless it is empty, is of no supported kind."""
    if database and _scheme(database).partition("+")[0] not in _DATABASES:  # with any driver
        raise ValueError("MASKTUNE_DATABASE_URL must begin with postgresql+psycopg:// or sqlite:///")
    if broker and _scheme(broker) not in _BROKERS:
        raise ValueError(
            "MASKTUNE_BROKER_URL must begin with redis://, rediss:// or amqp://; leave it empty to do without"
        )
    if storage:
        _check_storage(storage)


def _check_storage(url: str) -> None:
    """Raise ValueError if fsspec knows no such file system, or if its package is not installed."""
    from fsspec.registry import known_implementations, registry  # only needed if a store is set

    for scheme in filter(None, map(_scheme, url.split("::"))):  # a wrapper has no `://` of its own
        if scheme in registry:
            continue
        if scheme not in known_implementations:
            raise ValueError(f"MASKTUNE_STORAGE_URL: there is no file system called {scheme}")
        package = known_implementations[scheme]["class"].partition(".")[0]
        if not is_installed(package):
            more = ": pip install 'masktune-service[s3]'" if package == "s3fs" else ""
            raise ValueError(f"MASKTUNE_STORAGE_URL={scheme}://… needs the package {package}{more}")


def entries(text: str) -> list[str]:
    """The entries of a setting that are separated by commas, without spaces around them and empty ones."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def is_network(entry: str) -> bool:
    """Whether the entry is an address or a network, and no host name."""
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True


def check_proxies(text: str) -> str:
    """Return the comma-separated entries, or raise ValueError if one with a slash is no network."""
    for entry in entries(text):
        if "/" in entry:
            ipaddress.ip_network(entry)
    return text


def check_origins(text: str) -> str:
    """Return the comma-separated entries, or raise ValueError if one is no origin as browsers send it."""
    for entry in entries(text):
        if not _ORIGIN.fullmatch(entry):
            raise ValueError(
                f"MASKTUNE_ALLOWED_ORIGINS cannot have {entry}: list origins as browsers send them, in small "
                "letters and without a path or port 80 or 443, such as https://lab.example or "
                "http://localhost:3000; `*` would let any page on the internet call the service"
            )
    return text


def is_installed(module: str) -> bool:
    """Whether the module can be found; it is not imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def _scheme(url: str) -> str:
    """The part before `://`; empty for a path."""
    scheme, separator, _ = url.partition("://")
    return scheme if separator else ""
