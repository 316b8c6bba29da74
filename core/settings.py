"""Every setting of the service, read once from the environment (`MASKTUNE_…`) or a `.env` file.

A setting that cannot work fails here, at start-up, and not at the first request.
"""

from __future__ import annotations

import ipaddress
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.addresses import check_broker, check_database, check_storage, is_installed
from core.vocabulary import Scope

if TYPE_CHECKING:
    from limits import RateLimitItem

MiB = 2**20
GiB = 2**30
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


class Settings(BaseSettings):
    """The one settings class. Field names in capitals behind `MASKTUNE_` are the variables."""

    model_config = SettingsConfigDict(
        env_prefix="MASKTUNE_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # --- where things are -----------------------------------------------------------------
    data_dir: Path = Field(Path("var"), description="Folder of the embedded defaults and of scratch space.")
    database_url: str = Field(
        "", description="SQLAlchemy address (postgresql+psycopg://…). Default: SQLite in the data folder."
    )
    broker_url: str = Field(
        "", description="Celery broker (redis://…). Default: a folder in the data folder, no server."
    )
    storage_url: str = Field(
        "", description="fsspec address of the artifacts (file://…, s3://…). Default: in the data folder."
    )
    cache_bytes: int = Field(
        50 * GiB,
        ge=0,
        description="Space for copies of what an object store holds, for the API and the worker of a data "
        "folder each. The least recently used go first; what active jobs read or was used within the hour "
        "stays.",
    )

    # --- the front ------------------------------------------------------------------------
    host: str = Field("127.0.0.1", description="Address to listen on. Without keys: loopback only.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    api_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of `masktune api`. Each holds the models it serves, and its own limits.",
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys as `scope+scope:secret`, separated by commas, e.g. `read+predict:s3cret`.",
    )
    allowed_hosts: str = Field(
        "",
        description="Names by which browsers may reach the service, by commas: without keys besides loopback "
        "(`*`: any), and behind a proxy that does not hand on `Host`.",
    )
    rate_limits: str = Field(
        "",
        description="Requests that a key may make, by the scope they need, e.g. "
        "`predict=600/minute,train=60/hour`. Default: any number.",
    )
    max_active_jobs_per_key: int = Field(
        0, ge=0, description="Jobs of one key that may wait or run at a time; 0: any number."
    )
    max_event_streams: int = Field(500, ge=1, description="Event streams that one process keeps open.")
    root_path: Annotated[str, AfterValidator(lambda path: path.rstrip("/"))] = Field(
        "", description="Path prefix under which a proxy serves the API."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["text", "json"] = Field("text", description="Lines for people, or JSON for machines.")
    traces: bool = Field(
        False,
        description="Send OpenTelemetry traces (extra `otel`); OTEL_EXPORTER_OTLP_ENDPOINT says where to.",
    )
    graceful_shutdown_seconds: int = Field(
        10, ge=1, description="How long open requests may go on after SIGTERM."
    )

    # --- limits of what a client may send -----------------------------------------------------
    max_body_bytes: int = Field(1 * MiB, ge=1024, description="Largest JSON body.")
    max_upload_bytes: int = Field(20 * GiB, ge=1024, description="Largest data set or model upload.")
    max_image_bytes: int = Field(32 * MiB, ge=1024, description="Largest image file.")
    max_image_pixels: int = Field(64_000_000, ge=1024, description="Most pixels of an image.")
    max_images_per_request: int = Field(64, ge=1, description="Most images of one predict request.")
    max_archive_entries: int = Field(5_000_000, ge=1, description="Most entries of an archive.")
    max_archive_bytes: int = Field(200 * GiB, ge=1024, description="Most bytes an archive may unpack to.")
    max_archive_ratio: float = Field(
        200.0, gt=1, description="Largest unpacked size over packed size, above the first 64 MiB."
    )
    allowed_sources: str = Field(
        "", description="Address prefixes that `source` may name (file:///data/,s3://bucket/), by commas."
    )
    torchvision_root: Path | None = Field(
        None, description="Folder in which builtin:mnist, cifar10 and svhn are looked for before a download."
    )

    # --- the jobs ---------------------------------------------------------------------------
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    threads: int = Field(0, ge=0, description="CPU threads of a training; 0: one per usable core.")
    worker_slots: int = Field(1, ge=1, le=64, description="Jobs that one worker runs at a time.")
    lease_seconds: float = Field(60.0, gt=0, description="How long a silent worker keeps a job.")
    heartbeat_seconds: float = Field(10.0, gt=0, description="How often a lease is renewed.")
    control_seconds: float = Field(1.0, gt=0, description="How often cancel and fence are looked at.")
    sweep_seconds: float = Field(5.0, gt=0, description="How often lost jobs are looked for.")
    reannounce_seconds: float = Field(30.0, gt=0, description="When a queued job nobody took is told again.")
    max_attempts: int = Field(
        20, ge=1, description="Workers lost at a job without an epoch of progress before it fails."
    )
    max_crashes: int = Field(
        3, ge=1, description="Crashes of the child without an epoch of progress before it fails."
    )
    retry_backoff_seconds: float = Field(
        5.0, ge=0, description="Wait after the first crash; doubles each time, up to an hour."
    )
    child_silent_seconds: float = Field(
        1800.0,
        ge=0,
        description="How long a job's process may give no sign of life (a step, an image, a part of a copy) "
        "before it is ended and the job tried again, which counts as a crash; 0: for ever.",
    )
    progress_days: float = Field(
        7.0,
        ge=0,
        description="Days from a job's end until its progress within epochs is forgotten; the figures of "
        "epochs, stages and the log stay.",
    )
    end_grace_seconds: float = Field(3.0, gt=0, description="From SIGTERM of a child to its SIGKILL.")

    # --- serving ----------------------------------------------------------------------------
    engine: Literal["auto", "torch", "openvino-bf16", "openvino-int8"] = Field(
        "auto",
        description="What serves. auto: ONNX Runtime where its answers equal torch's, else torch. "
        "openvino-…: less precision (extra `openvino`), calibrated anew, where that is good enough.",
    )
    models_in_memory_bytes: int = Field(
        2 * GiB, ge=0, description="Budget of loaded models; the least used goes first."
    )
    predict_in_flight: int = Field(
        64, ge=1, description="Requests for predictions and maps that are answered at a time, per process."
    )
    predict_queue: int = Field(256, ge=1, description="Images that may wait for the engine.")
    predict_wait_seconds: float = Field(
        0.25,
        gt=0,
        description="How long an image may have to wait for the engine; above, requests are refused.",
    )
    predict_batch: int = Field(64, ge=1, description="Most images of one forward pass.")
    predict_image_bytes: int = Field(
        512 * MiB,
        ge=1024,
        description="Bytes of images that requests hold in memory at a time, per process; above, they are "
        "refused. A form may have as many.",
    )
    events_poll_seconds: float = Field(0.5, gt=0, description="How often new events are read, per process.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("MASKTUNE_LEASE_SECONDS must be at least twice MASKTUNE_HEARTBEAT_SECONDS")
        self.keys  # noqa: B018  # parsed now, so that a malformed key fails at start-up
        self.rates  # noqa: B018  # likewise
        self._check_addresses()
        if not _DEVICE.fullmatch(self.device):
            raise ValueError("MASKTUNE_DEVICE must be auto, cpu, cuda or cuda:N, the number of a card")
        if self.traces and not is_installed("opentelemetry.exporter.otlp.proto.http"):
            raise ValueError(
                "MASKTUNE_TRACES needs the packages of the extra `otel`: pip install 'masktune-service[otel]'"
            )
        if self.engine.startswith("openvino") and not is_installed("openvino"):
            raise ValueError(
                f"MASKTUNE_ENGINE={self.engine} needs the packages of the extra `openvino`: "
                "pip install 'masktune-service[openvino]'"
            )
        return self

    def _check_addresses(self) -> None:
        for url, check in (
            (self.database_url, check_database),
            (self.broker_url, check_broker),
            (self.storage_url, check_storage),
        ):
            if url:
                check(url)

    @cached_property
    def keys(self) -> dict[str, frozenset[Scope]]:
        """Secret → scopes."""
        found: dict[str, frozenset[Scope]] = {}
        for part in filter(None, (p.strip() for p in self.api_keys.get_secret_value().split(","))):
            scopes, colon, secret = part.partition(":")
            unknown = [s for s in scopes.split("+") if s not in set(Scope)]
            if not colon or not secret or unknown:
                raise ValueError(
                    f"MASKTUNE_API_KEYS must hold scope+scope:secret, with scopes out of {', '.join(Scope)}"
                )
            found[secret] = frozenset(Scope(s) for s in scopes.split("+"))
        return found

    @cached_property
    def rates(self) -> dict[Scope, RateLimitItem]:
        """Scope that a request needs → how often a key may make such requests."""
        found: dict[Scope, RateLimitItem] = {}
        for part in filter(None, (p.strip() for p in self.rate_limits.split(","))):
            from limits import parse as parse_rate  # half a second to load: for those who limit

            scope, equals, rate = (piece.strip() for piece in part.partition("="))
            try:
                known = Scope(scope)
                limit = parse_rate(rate)
            except ValueError:
                equals = ""
            if not equals or known in found or limit.amount < 1:
                raise ValueError(
                    "MASKTUNE_RATE_LIMITS must hold scope=number/unit (second, minute, hour, day), "
                    f"each scope once, out of {', '.join(Scope)}"
                )
            found[known] = limit
        return found

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.absolute()}/masktune.db"

    @property
    def broker(self) -> str:
        return self.broker_url or f"folder://{self.data_dir.absolute()}/queue"

    @property
    def storage(self) -> str:
        return self.storage_url or f"file://{self.data_dir.absolute()}/artifacts"

    @property
    def scratch(self) -> Path:
        """Local space for uploads being received and work in progress."""
        return self.data_dir.absolute() / "scratch"

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(filter(None, (s.strip() for s in self.allowed_sources.split(","))))

    def check_exposure(self) -> None:
        """Refuse to listen beyond this machine without a key."""
        if self.keys or self.host in ("localhost", ""):
            loopback = True
        else:
            try:
                loopback = ipaddress.ip_address(self.host).is_loopback
            except ValueError:
                loopback = False
        if not loopback or (self.host == "" and not self.keys):
            raise ValueError(
                f"refusing to listen on {self.host or 'every address'} without a key: "
                "set MASKTUNE_API_KEYS, or MASKTUNE_HOST=127.0.0.1"
            )
