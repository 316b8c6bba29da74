"""`create_app()`: wires the application together, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter
from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from app.auth import routes as keys
from app.auth.keyring import Keyring, created_keys
from app.auth.people import People
from app.auth.rate_limits import Rates, open_rates
from app.datasets import prediction_jobs
from app.datasets import routes as datasets
from app.datasets.pictures import Pictures
from app.datasets.stores import Stores
from app.http import problems as problems
from app.http.single_flight import CACHE_SECONDS, SingleFlight
from app.inference import Admission, Inference, check_forward
from app.jobs import output_routes, presets
from app.jobs import routes as jobs
from app.jobs.event_feed import EventFeed
from app.operations import openapi_routes, service_routes, storage_routes
from app.operations.background import in_background, repeated, sweep_periodically, warm_up
from app.operations.health import FORWARD_PATIENCE_SECONDS, Check, ForwardCheck, Probes, check_database
from app.operations.metrics import GAUGES_SECONDS, Metrics, forget_the_dead
from app.predictions import routes as predict
from app.predictions.saliency import SaliencyService
from app.predictions.service import PredictionService
from app.registry import alias_routes, backbones, drift
from app.registry import routes as models
from app.registry import service as model_rows
from app.reports import routes as reports
from app.review_queue import routes as review_queue
from app.review_queue.service import EXPIRE_SECONDS, expire
from app.review_queue.spool import FILL_SECONDS, PER_SECOND, Spool
from app.selective.usage import FLUSH_SECONDS, CountedSubjects, UsageBuffer, UsageCounters, flush
from app.server.cross_origin import CrossOrigin
from app.server.edge import Edge, limit_of
from app.server.guard import Guard
from app.server.proxies import Proxies
from app.webhooks import routes as webhooks
from app.webhooks.destinations import Destinations
from app.webhooks.sender import Sender
from core.notifications import JobNotifier
from core.schema import upgrade
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts, driver_errors
from core.telemetry import open_tracing
from core.tracing import Tracing

RESOURCES = (
    predict,  # first: each earlier router is tried before it
    datasets,
    jobs,
    prediction_jobs,
    output_routes,
    reports,
    models,
    review_queue,
    alias_routes,
    backbones,
    presets,
    keys,
    webhooks,
    service_routes,
    storage_routes,
    problems,
)
# Prepared once a process, however many applications it creates.
API = APIRouter(
    generate_unique_id_function=lambda route: route.name,
    responses=problems.problems(422),  # replaces FastAPI's own validation error in the document
)
for module in RESOURCES:
    API.include_router(module.router)


@dataclass(frozen=True)
class Services:
    """Objects that live as long as the process; stored in `app.state.services`.

    For wiring: everything else takes what it uses of them.
    """

    settings: Settings
    root_path: str
    database: Database
    artifacts: Artifacts
    notifier: JobNotifier
    stores: Stores
    pictures: Pictures
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
    destinations: Destinations
    """Where webhooks may go."""
    probes: Probes
    """The checks of /readyz."""


def create_app(settings: Settings | None = None, tracing: Tracing | None = None) -> FastAPI:
    """Build the application.
    It opens nothing until its lifespan starts, which also migrates the database.

    `tracing` overrides what the settings ask for.
    """
    settings = settings or Settings()
    counters = Metrics(openapi_routes.service_version())
    admission = Admission(settings.predict_in_flight, settings.predict_image_bytes)
    traces = tracing or open_tracing(settings, "masktune-api")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        settings.check_exposure()
        await asyncio.to_thread(upgrade, settings.database)
        forget_the_dead()
        with ExitStack() as closing:
            closing.callback(counters.close)
            forward = ForwardCheck(partial(check_forward, settings.device))
            services = _open(settings, counters, traces, closing, forward, admission)
            app.state.services = services
            async with (
                in_background(sweep_periodically(services.database, settings)),
                in_background(
                    Sender(services.database, services.destinations, counters.webhook_attempts).run()
                ),
                repeated(partial(flush, services.usage, services.database), FLUSH_SECONDS),
                repeated(partial(services.predictions.spool.fill, PER_SECOND), FILL_SECONDS),
                repeated(partial(expire, services.database), EXPIRE_SECONDS),
                repeated(
                    partial(counters.set_gauges, services.event_feed, services.inference), GAUGES_SECONDS
                ),
                in_background(warm_up(forward)),
                aclosing(services.rates),
            ):
                yield
            services.event_feed.stop()

    app = FastAPIOffline(  # bundles the scripts of /docs, which therefore works without internet access
        redoc_url=None,
        static_url="/docs/static",
        title="masktune",
        version=openapi_routes.service_version(),
        description=openapi_routes.DESCRIPTION,
        openapi_tags=openapi_routes.TAGS,
        lifespan=lifespan,
        routes=API.routes,
        redirect_slashes=False,
        # `tracing` does this. Looking for globally installed providers costs every request 5 µs.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.admission, app.state.metrics = admission, counters
    problems.install(
        app, [module.router for module in RESOURCES], store_errors=driver_errors(settings.storage)
    )
    openapi_routes.install(app, settings.root_path)
    traces.instrument(app)
    app.middleware_stack = Edge(
        app.build_middleware_stack(),
        proxies=Proxies(settings.trusted_proxies, settings.proxy_user),
        guard=Guard(allowed=settings.allowed_hosts, is_open=not settings.needs_key, origins=settings.origins),
        admission=admission,
        metrics=counters,
        limit_of=limit_of(settings),
        cross_origin=CrossOrigin(settings.origins) if settings.origins else None,
    )
    return app


def _open(
    settings: Settings,
    counters: Metrics,
    tracing: Tracing,
    closing: ExitStack,
    forward: ForwardCheck,
    admission: Admission,
) -> Services:
    settings.scratch.mkdir(parents=True, exist_ok=True)
    closing.callback(tracing.close)
    database = Database(settings.database)
    closing.callback(database.close)
    notifier = JobNotifier(settings.broker_url)
    closing.callback(notifier.close)
    artifacts = Artifacts(settings.storage, cache=settings.data_dir.absolute() / "cache")
    stores = Stores(artifacts)
    inference = Inference(
        settings,
        artifacts,
        admission,
        partial(model_rows.check_there, database),
    )
    closing.callback(inference.close)
    usage, threads = UsageBuffer(partial(drift.judge, artifacts)), CapacityLimiter(20)
    spool = Spool(settings.data_dir.absolute() / "spool", database, counters.reviews_lost)
    closing.callback(spool.close)
    predictions = PredictionService(
        settings,
        database,
        artifacts,
        stores,
        inference,
        UsageCounters(counters, usage, CountedSubjects()),
        spool,
        threads,
        SingleFlight(threads, keep=CACHE_SECONDS, written=lambda: database.commits),
        CapacityLimiter(2),
    )
    return Services(
        settings=settings,
        root_path=settings.root_path,
        database=database,
        artifacts=artifacts,
        notifier=notifier,
        stores=stores,
        pictures=Pictures(),
        inference=inference,
        keyring=Keyring(settings.keys, partial(created_keys, database), closed=settings.needs_key),
        people=People(settings.proxy_user, settings.person_scopes),
        rates=open_rates(settings),
        predictions=predictions,
        saliency=SaliencyService(settings, database, stores, inference, threads),
        event_feed=EventFeed(
            database, poll_seconds=settings.events_poll_seconds, most=settings.max_event_streams
        ),
        metrics=counters,
        usage=usage,
        tracing=tracing,
        destinations=Destinations(settings.webhook_allowed_hosts),
        probes=Probes(
            [
                Check("database", partial(check_database, database)),
                Check("broker", notifier.ping),
                Check("storage", artifacts.check),
                Check("forward_pass", forward, FORWARD_PATIENCE_SECONDS),
            ]
        ),
    )
