"""Every setting of the service, read once from the environment (`MASKTUNE_…`) or a `.env` file.

A setting that cannot work fails here, at start-up, instead of at the first request.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.access import check_loopback, parse_keys, parse_rates
from core.addresses import check_addresses, check_origins, check_proxies, entries, is_installed
from core.proxy_user import ProxyUser, parse_proxy_scopes
from masktune.contract.vocabulary import Scope

if TYPE_CHECKING:
    from limits import RateLimitItem

MiB = 2**20
GiB = 2**30
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


class Settings(BaseSettings):
    """All settings. The variable of a field is `MASKTUNE_` followed by its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="MASKTUNE_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # --- where things are -----------------------------------------------------------------
    data_dir: Path = Field(
        Path("var"),
        description="The data folder: the embedded database and artifacts, and scratch space.",
    )
    database_url: str = Field(
        "", description="SQLAlchemy URL (postgresql+psycopg://…). Default: SQLite in the data folder."
    )
    broker_url: str = Field(
        "",
        description="Celery broker URL (redis://…). Default: none; an idle worker looks at the database five "
        "times a second.",
    )
    storage_url: str = Field(
        "", description="fsspec URL of the artifacts (file://…, s3://…). Default: in the data folder."
    )
    cache_bytes: int = Field(
        50 * GiB,
        ge=0,
        description="Space for local copies of objects from an object store; the API and the worker of a "
        "data folder may each use this much. The least recently used copies are evicted first; those that "
        "active jobs read or that were used within the last hour stay.",
    )

    # --- the front ------------------------------------------------------------------------
    host: str = Field("127.0.0.1", description="Address to listen on. Without keys: loopback only.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    api_processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of `masktune api`. Each loads its own models and applies its own limits.",
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="Keys as `scope+scope:secret`, separated by commas, e.g. `read+predict:s3cret`.",
    )
    first_key_file: Path | None = Field(
        None,
        description="File for the secret of a first admin key, which the service makes when it first starts, "
        "unless `MASKTUNE_API_KEYS` names a key; `masktune keys first` shows it.",
    )
    allowed_hosts: str = Field(
        "",
        description="Host names under which browsers may reach the service, separated by commas. Needed "
        "without keys for names other than loopback (`*`: any), and behind a proxy that does not forward "
        "`Host`.",
    )
    allowed_origins: Annotated[str, AfterValidator(check_origins)] = Field(
        "",
        description="Origins of other sites whose pages may call the API in browsers, separated by commas, "
        "e.g. `https://lab.example,http://localhost:3000`. Default: none.",
    )
    trusted_proxies: Annotated[str, AfterValidator(check_proxies)] = Field(
        "127.0.0.1",
        description="Addresses, networks or host names of the proxies in front, separated by commas. Only "
        "from these are `X-Forwarded-For` and `X-Forwarded-Proto` believed.",
    )
    proxy_user_header: str = Field(
        "",
        description="Header in which an authenticating proxy names the person, e.g. `Remote-User`. Default: "
        "none; callers need a key.",
    )
    proxy_user_from: str = Field(
        "",
        description="Addresses, networks or host names from which that header is believed, separated by "
        "commas: the proxy's and the dashboard's. Whoever can connect from there can be anybody.",
    )
    proxy_groups_header: str = Field(
        "",
        description="Header in which the proxy lists the person's groups, separated by commas, e.g. "
        "`Remote-Groups`.",
    )
    proxy_scopes: str = Field(
        "",
        description="What people may do, as `group=scope+scope`, separated by commas, e.g. "
        "`*=read,vision=predict+train,operators=admin`; `*` is everyone whom the proxy names.",
    )
    rate_limits: str = Field(
        "",
        description="Requests that a key or a person may make, by the scope they need, e.g. "
        "`predict=600/minute,train=60/hour`. Default: no limit.",
    )
    max_active_jobs_per_key: int = Field(
        0,
        ge=0,
        description="Most jobs of one key or person that are queued or running at a time; 0: no limit.",
    )
    audit_days: float = Field(
        365.0,
        gt=0,
        description="Days after which the audit log forgets who made a change: once a day at most, and its "
        "oldest day at most, unless this was lowered.",
    )
    webhook_allowed_hosts: Annotated[str, AfterValidator(check_proxies)] = Field(
        "",
        description="Host names, addresses and networks, separated by commas, to which webhooks may go, also "
        "by http, though they are not public: `hooks.internal,10.0.0.0/8`.",
    )
    webhook_log_days: float = Field(30.0, gt=0, description="Days for which messages to webhooks are kept.")
    max_event_streams: int = Field(500, ge=1, description="Most open event streams, per process.")
    root_path: Annotated[str, AfterValidator(lambda path: path.rstrip("/"))] = Field(
        "", description="Path prefix under which a proxy serves the API."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest log level.")
    log_format: Literal["text", "json"] = Field("text", description="Lines for people, or JSON for machines.")
    traces: bool = Field(
        False,
        description="Send OpenTelemetry traces (extra `otel`) to OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    graceful_shutdown_seconds: int = Field(
        10, ge=1, description="How long open requests may continue after SIGTERM."
    )

    # --- limits of what a client may send -----------------------------------------------------
    max_body_bytes: int = Field(1 * MiB, ge=1024, description="Largest JSON body.")
    max_upload_bytes: int = Field(20 * GiB, ge=1024, description="Largest data set or model upload.")
    max_image_bytes: int = Field(32 * MiB, ge=1024, description="Largest image file.")
    max_image_pixels: int = Field(64_000_000, ge=1024, description="Most pixels in an image.")
    max_images_per_request: int = Field(64, ge=1, description="Most images in one predict request.")
    max_archive_entries: int = Field(5_000_000, ge=1, description="Most entries in an archive.")
    max_archive_bytes: int = Field(200 * GiB, ge=1024, description="Most bytes an archive may unpack to.")
    max_archive_ratio: float = Field(
        200.0, gt=1, description="Largest ratio of unpacked to packed size, above the first 64 MiB."
    )
    allowed_sources: str = Field(
        "",
        description="Address prefixes that `source` may name, separated by commas, e.g. "
        "`file:///data/,s3://bucket/`.",
    )
    unlabelled_days: float | None = Field(
        None,
        gt=0,
        description="Days after which an unlabelled data set is deleted, once no active job uses it. "
        "Default: it stays until it, or the last predict job on it, is deleted.",
    )
    torchvision_root: Path | None = Field(
        None, description="Folder searched for builtin:mnist, cifar10 and svhn before they are downloaded."
    )

    # --- the jobs ---------------------------------------------------------------------------
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    threads: int = Field(0, ge=0, description="CPU threads for training; 0: one per usable core.")
    worker_slots: int = Field(
        1, ge=1, le=64, description="Jobs that one worker runs at a time, without its imports."
    )
    import_slots: int = Field(
        1,
        ge=0,
        le=64,
        description="Imports that one worker runs at a time, beside its other jobs; 0: an import waits for a "
        "worker slot like any other job. Set it alike for the API and the workers.",
    )
    spare_children: bool = Field(
        True,
        description="Whether an idle worker slot starts the process of its next job ahead, which takes "
        "0.3 GiB of memory; the job then begins seconds sooner.",
    )
    lease_seconds: float = Field(60.0, gt=0, description="How long a silent worker keeps its job.")
    heartbeat_seconds: float = Field(10.0, gt=0, description="How often a lease is renewed.")
    control_seconds: float = Field(
        1.0, gt=0, description="How often a running job is checked for a cancel request or a lost lease."
    )
    sweep_seconds: float = Field(5.0, gt=0, description="How often lost jobs are looked for.")
    max_attempts: int = Field(
        20, ge=1, description="Workers a job may lose without saved progress before it fails."
    )
    max_crashes: int = Field(
        3, ge=1, description="Crashes of a job's process without saved progress before it fails."
    )
    retry_backoff_seconds: float = Field(
        5.0, ge=0, description="Wait after the first crash; doubles each time, up to an hour."
    )
    child_silent_seconds: float = Field(
        1800.0,
        ge=0,
        description="How long a job's process may show no sign of life (a step, an image, a part of a copy) "
        "before it is ended and the job retried, which counts as a crash; 0: no limit.",
    )
    progress_days: float = Field(
        7.0,
        ge=0,
        description="Days after a job's end until its progress within epochs is deleted; the figures of "
        "epochs, the stages and the log stay.",
    )
    end_grace_seconds: float = Field(3.0, gt=0, description="From SIGTERM to SIGKILL for a job's process.")

    # --- serving ----------------------------------------------------------------------------
    engine: Literal["auto", "torch"] = Field(
        "auto",
        description="The engine that serves. auto: ONNX Runtime for models with a stored graph, else torch.",
    )
    models_in_memory_bytes: int = Field(
        2 * GiB, ge=0, description="Memory for loaded models; the least recently used is evicted first."
    )
    predict_in_flight: int = Field(
        64, ge=1, description="Most prediction and saliency requests handled at a time, per process."
    )
    predict_queue: int = Field(256, ge=1, description="Most images that may wait for the engine.")
    predict_wait_seconds: float = Field(
        0.25, gt=0, description="Longest expected wait of an image for the engine; beyond it, it is refused."
    )
    predict_batch: int = Field(64, ge=1, description="Most images in one forward pass.")
    predict_image_bytes: int = Field(
        512 * MiB,
        ge=1024,
        description="Most bytes of images that all requests together hold in memory, per process; beyond it, "
        "requests are refused. One form may be as large.",
    )
    events_poll_seconds: float = Field(0.5, gt=0, description="How often new events are read, per process.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("MASKTUNE_LEASE_SECONDS must be at least twice MASKTUNE_HEARTBEAT_SECONDS")
        self.keys, self.rates, self.proxy_user  # noqa: B018  # parse now: what is malformed fails at start-up
        if not self.person_scopes and self.proxy_user_header:
            raise ValueError("MASKTUNE_PROXY_SCOPES must say what people may do, for example `*=read`")
        check_addresses(self.database_url, self.broker_url, self.storage_url)
        if not _DEVICE.fullmatch(self.device):
            raise ValueError("MASKTUNE_DEVICE must be auto, cpu, cuda or cuda:N (N is the number of a card)")
        if self.traces and not is_installed("opentelemetry.exporter.otlp.proto.http"):
            raise ValueError("MASKTUNE_TRACES needs the extra `otel`: pip install 'masktune-service[otel]'")
        return self

    @cached_property
    def keys(self) -> dict[str, frozenset[Scope]]:
        """The keys of `api_keys`: secret → scopes."""
        return parse_keys(self.api_keys.get_secret_value())

    @cached_property
    def rates(self) -> dict[Scope, RateLimitItem]:
        """Scope that a request needs → rate limit per key for such requests."""
        return parse_rates(self.rate_limits)

    @cached_property
    def proxy_user(self) -> ProxyUser:
        """Who is believed about the person behind a request."""
        return ProxyUser(self.proxy_user_header, self.proxy_groups_header, self.proxy_user_from)

    @cached_property
    def person_scopes(self) -> dict[str, frozenset[Scope]]:
        """The scopes of `proxy_scopes`: group → scopes."""
        return parse_proxy_scopes(self.proxy_scopes, has_groups=bool(self.proxy_groups_header))

    @property
    def needs_key(self) -> bool:
        """Whether callers need a key, or a proxy that names them; without, the service listens on loopback
        only."""
        return bool(self.keys or self.proxy_user_header) or self.first_key_file is not None

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.absolute()}/masktune.db"

    @property
    def storage(self) -> str:
        return self.storage_url or f"file://{self.data_dir.absolute()}/artifacts"

    @cached_property
    def scratch(self) -> Path:
        """Local space for incoming uploads and work in progress."""
        return self.data_dir.absolute() / "scratch"

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(entries(self.allowed_sources))

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(entries(self.allowed_origins))

    def check_exposure(self) -> None:
        """Raise ValueError if the service would listen beyond loopback without a key."""
        if not self.needs_key:
            check_loopback(self.host)
