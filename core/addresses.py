"""Whether the addresses of the settings are of kinds that the service knows; nothing is opened by them.

What is raised names no more of an address than its scheme: the rest may hold a password.
"""

from __future__ import annotations

from importlib.util import find_spec

_BROKERS = ("folder", "redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp")
_DATABASES = ("postgresql", "sqlite")


def check_database(url: str) -> None:
    """ValueError unless it is PostgreSQL or SQLite, by whichever driver."""
    if _scheme(url).partition("+")[0] not in _DATABASES:
        raise ValueError("MASKTUNE_DATABASE_URL must begin with postgresql+psycopg:// or sqlite:///")


def check_broker(url: str) -> None:
    """ValueError unless it is one that a doorbell hangs at."""
    if _scheme(url) not in _BROKERS:
        raise ValueError("MASKTUNE_BROKER_URL must begin with redis://, rediss://, amqp:// or folder:///")


def check_storage(url: str) -> None:
    """ValueError where fsspec knows no such file system, or its package is not installed."""
    from fsspec.registry import known_implementations, registry  # for those who name a store

    for scheme in filter(None, map(_scheme, url.split("::"))):  # a wrapper has no `://` of its own
        if scheme in registry:
            continue
        if scheme not in known_implementations:
            raise ValueError(f"MASKTUNE_STORAGE_URL: there is no file system called {scheme}")
        package = known_implementations[scheme]["class"].partition(".")[0]
        if not is_installed(package):
            more = ": pip install 'masktune-service[s3]'" if package == "s3fs" else ""
            raise ValueError(f"MASKTUNE_STORAGE_URL={scheme}://… needs the package {package}{more}")


def is_installed(module: str) -> bool:
    """Whether it could be imported."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False


def _scheme(url: str) -> str:
    """What stands before `://`; empty for a path."""
    scheme, separator, _ = url.partition("://")
    return scheme if separator else ""
