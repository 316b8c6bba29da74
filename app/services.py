"""The objects that live as long as the process. For wiring: everything else takes what it uses of them."""

from __future__ import annotations

from dataclasses import dataclass

from app.auth.keyring import Keyring
from app.auth.people import People
from app.auth.rate_limits import Rates
from app.datasets.stores import Stores
from app.inference import Inference
from app.jobs.event_feed import EventFeed
from app.operations.health import Probes
from app.operations.metrics import Metrics
from app.predictions.saliency import SaliencyService
from app.predictions.service import PredictionService
from app.selective.usage import UsageBuffer
from core.notifications import JobNotifier
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.tracing import Tracing


@dataclass(frozen=True)
class Services:
    """Objects that live as long as the process; stored in `app.state.services`."""

    settings: Settings
    root_path: str
    database: Database
    artifacts: Artifacts
    notifier: JobNotifier
    stores: Stores
    inference: Inference
    keyring: Keyring
    people: People
    rates: Rates
    predictions: PredictionService
    saliency: SaliencyService
    event_feed: EventFeed
    metrics: Metrics
    usage: UsageBuffer
    tracing: Tracing
    probes: Probes
    """The checks of /readyz."""
