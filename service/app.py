"""`create_app(settings)`: lifespan and wiring, nothing else. The result is an ASGI application for any server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastapi import FastAPI

from service import __version__
from service.api.absent import NO_JOURNAL, NO_METRICS, OF_JOURNAL, absent
from service.api.console import console
from service.api.errors import translate
from service.api.metrics import metrics
from service.api.openapi import describe
from service.api.operations import operations
from service.api.protocol.routes import protocol
from service.codec.depth import BOUND, lists_bound
from service.engine.batcher import Batcher, measure_hand_over
from service.engine.loader import Loader, read_checksums
from service.engine.trial import Trials
from service.errors import CannotStart
from service.model import stopped_heads, stopped_loads
from service.readiness import Readiness
from service.repository import Repository
from service.settings import Settings
from service.settings import load as load_settings
from service.telemetry.counts import Off, Telemetry, start
from service.telemetry.observer import Both, Observer
from service.transports.asgi import Dispatcher
from service.transports.budget import Budget, derive_total
from service.transports.gate import Gate
from service.transports.handler import Handler
from service.transports.keys import Keys
from service.transports.limits import Limits
from service.transports.reach import check_reach
from service.transports.renewal import LastRead, follow
from service.transports.tls import Certificate

if TYPE_CHECKING:
    from service.journal.observer import Journal

DESCRIPTION = "Logits in, calibrated probabilities out."


class Observing(NamedTuple):
    """Who is told of requests and batches, and what to do at the end; that may wait for the network."""

    observer: Observer
    close: Callable[[], None]


def observing(settings: Settings, telemetry: Telemetry) -> Observing:
    """Counts, and traces where the settings want them; without, nothing of OpenTelemetry is loaded.

    Raises:
        CannotStart: traces are wanted, and the extra is not installed.
    """
    if not settings.traces:
        return Observing(telemetry, lambda: None)
    try:
        from service.telemetry.traces import Tracer, Traces
    except ImportError as error:
        raise CannotStart(
            f"traces need the extra otel, {error.name} is missing: pip install 'calibrant[otel]'"
        ) from error
    tracer = Tracer(telemetry.unsent)
    return Observing(Both(telemetry, Traces(tracer)), tracer.close)


def over_grpc(settings: Settings) -> Callable[["Service"], AbstractAsyncContextManager[Any]]:
    """What answers over gRPC as long as the service lives, or does not; without, nothing of grpc is loaded.

    Raises:
        CannotStart: it is wanted, and the extra is not installed.
    """
    if settings.grpc is None:
        return nullcontext
    check_reach(settings)  # another server than ours may listen for the rest; this port is ours
    try:
        from service.rpc.server import serve_rpc
    except ImportError as error:
        raise CannotStart(
            f"--grpc needs the extra grpc, {error.name} is missing: pip install 'calibrant[grpc]'"
        ) from error
    return serve_rpc


def open_journal(settings: Settings, telemetry: Telemetry, then: Observer) -> "Journal | None":
    """The journal, if the settings want one, before who else observes; without, nothing of it is loaded.

    Raises:
        CannotStart: its folder cannot be made, or not be written, or its store needs an extra that is not installed.
    """
    if settings.journal is None:
        return None
    from service.journal.observer import Journal
    from service.journal.policy import parse_policy
    from service.journal.segments import Appender, make_folder

    parse_policy(settings.label_policy)
    if settings.journal_store:
        from service.journal.database import check_extra

        check_extra()
    return Journal(
        Appender(make_folder(settings.journal), settings.journal_max_mb * 2**20),
        sample=settings.journal_sample,
        keeps=settings.journal_what,
        id_key=settings.journal_hash_ids.encode(),
        count=telemetry.journaled,
        then=then,
    )


def make_loader(settings: Settings) -> Loader:
    """What loads the model files, as the settings want it."""
    limits = {"memory_mb": settings.load_memory_mb, "max_nodes": settings.max_model_nodes}
    return Loader(
        settings.models,
        provider=settings.provider,
        intra_op_threads=settings.intra_op_threads,
        max_file_mb=settings.max_model_mb,
        trials=Trials(timeout_s=settings.load_timeout_s, **limits) if settings.load_timeout_s else None,
        checksums=None if settings.model_checksums is None else read_checksums(settings.model_checksums),
        names_groups=settings.journal is not None,
    )


class Service(Dispatcher):
    """The application: the dispatcher in front, FastAPI behind it, and what both answer from."""

    def __init__(
        self, settings: Settings, readiness: Readiness, telemetry: Telemetry, counts: Path | None, last: LastRead | None
    ) -> None:
        """Load the models; whatever is wrong with them is said here, before anything listens."""
        self.settings = settings
        BOUND.most, BOUND.lists = settings.max_json_depth, lists_bound(settings.max_queue_rows)
        self.readiness = readiness
        self.default_model = settings.default_model
        self.loader = make_loader(settings)
        self.repository = Repository(
            settings.models,
            self.loader.load,
            telemetry,
            default_model=settings.default_model,
            replaces=last is not None,
            strict=settings.strict_models,
        )
        self.batcher: Batcher | None = None
        if last is None:
            check_default_model(settings, self.repository)
        self.draining = False
        observer, self.close_observer = observing(settings, telemetry)
        self.journal = open_journal(settings, telemetry, observer)
        if self.journal is not None:
            observer = self.journal
        before = last or LastRead()
        self.certificate = Certificate.of(settings, before.pair)
        self.over_grpc = over_grpc(settings)
        keys = Keys.of(settings, counts, before.keys)
        gate = Gate(keys, settings.max_body_bytes)
        app = self.make_app(telemetry, gate)
        describe(app, lambda: self.repository.models, guarded=keys.guarded)
        translate(app)
        self.telemetry = telemetry
        budget = Budget(settings.max_request_memory_mb << 20 or derive_total(settings.workers))
        super().__init__(app, gate, Limits.of(settings), budget, observer, access_log=settings.access_log)

    def make_app(self, telemetry: Telemetry, gate: Gate) -> FastAPI:
        """FastAPI's pages, as the settings want them."""
        settings = self.settings
        app = FastAPI(
            title="Calibrant",
            version=__version__,
            description=DESCRIPTION,
            lifespan=self.lifespan,
            docs_url=None,
            redoc_url=None,
        )
        app.include_router(operations(self))
        app.include_router(protocol(self))
        if settings.metrics:
            app.include_router(metrics(self, telemetry, settings.max_queue_rows * settings.workers, settings.journal))
        else:
            app.include_router(absent(NO_METRICS, "/metrics"))
        if settings.console:
            app.include_router(console())
        if self.journal is not None and settings.journal is not None:
            from service.api.calibration import calibration
            from service.api.labels import labels
            from service.api.refit import refit

            app.include_router(labels(settings.journal, self.journal, self))
            app.include_router(calibration(self, settings.journal, gate))
            app.include_router(refit(self, settings.journal, settings.refit, gate))
        else:
            app.include_router(absent(NO_JOURNAL, *OF_JOURNAL))
        return app

    def new_batcher(self) -> Batcher:
        """A batcher as the settings want it, whose state the counts tell."""
        settings, telemetry = self.settings, self.telemetry
        batcher = Batcher(
            max_batch_rows=settings.max_batch_rows,
            max_queue_rows=settings.max_queue_rows,
            max_wait_s=settings.max_wait_ms / 1e3,
            run_timeout_s=settings.run_timeout_s,
            observer=self.observer,
            on_stop=telemetry.publish,
        )
        telemetry.depth = lambda: batcher.n_waiting
        telemetry.dead = lambda: batcher.cause_of_death is not None
        telemetry.stopped = lambda: (
            stopped_heads(self.repository.models) | stopped_loads(self.repository.public_failures())
        )
        return batcher

    def list_watches(self) -> Iterator[Callable[[], Coroutine[Any, Any, None]]]:
        """What follows the files that change while the service runs."""
        if self.settings.watch:
            yield self.repository.watch
        if self.settings.api_keys_file is not None:
            yield partial(follow, self.gate.keys.read, "the API keys")
        if self.certificate is not None:
            yield partial(follow, self.certificate.read, "certificate and key")

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Start the batcher and the watch; at the end answer what is queued."""
        settings = self.settings
        self.batcher = self.new_batcher()
        self.telemetry.publish()  # so that the others know of this process before it has counted anything
        self.handler = Handler(
            self.repository,
            self.batcher,
            self.budget,
            self.observer,
            default_model=settings.default_model,
            default_timeout_s=settings.default_timeout_ms / 1e3,
            max_body_bytes=settings.max_body_bytes,
            max_unpacked_ratio=settings.max_unpacked_ratio,
        )
        watches = [asyncio.create_task(watch()) for watch in self.list_watches()]
        await measure_hand_over(self.batcher)
        try:
            async with self.over_grpc(self):
                self.readiness.set(True)
                try:
                    yield
                finally:
                    self.readiness.set(False)
                    self.draining = True
        finally:
            self.loader.close()
            for watch in watches:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch
            await self.batcher.close()
            if self.journal is not None:
                await self.journal.close()
            self.telemetry.close()
            await asyncio.to_thread(self.close_observer)


def check_default_model(settings: Settings, repository: Repository) -> None:
    """Warn where the default model is not there; raises CannotStart where it was asked for."""
    if settings.default_model in repository.models:
        return
    if "default_model" in settings.model_fields_set:
        there = ", ".join(repository.models)
        raise CannotStart(f"the default model {settings.default_model} is not there; --default-model takes {there}")
    repository.warn_of_default()


def create_app(
    settings: Settings | None = None,
    readiness: Readiness | None = None,
    counts: Path | None = None,
    last: LastRead | None = None,
) -> Service:
    """The application, with settings from the environment unless they are given.

    Args:
        settings: how to serve.
        readiness: of all processes behind the port.
        counts: the folder in which several processes keep their counts, to be added up.
        last: another process began with these files, and read this: what fails by now does not stop this one.

    Raises:
        CannotStart: the models cannot be served; the sentence says why.
    """
    settings = settings or load_settings()
    telemetry = start(counts) if settings.metrics else Off()
    return Service(settings, readiness or Readiness(), telemetry, counts, last)
