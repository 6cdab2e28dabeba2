"""Answer over HTTP with the heads of a models folder, until Ctrl-C or SIGTERM."""

import argparse
import logging
import os
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# numpy's BLAS would start a thread a core for products that are never large here
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


from service.app import Service, create_app
from service.commands.options import add_settings, check_times, warn, warn_of_secrets
from service.errors import CannotStart
from service.process.descriptors import raise_limit
from service.process.last_read import follow_files
from service.process.live import live_process
from service.process.server import Server
from service.process.sockets import listen_each, reserve
from service.process.worker import run_worker
from service.process.workers import Workers
from service.settings import Settings, check_journal, load
from service.telemetry import logs
from service.transports.reach import check_reach


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option a setting."""
    add_settings(parser, Settings.model_fields)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal; 0 when it was asked to stop."""
    settings = load(**vars(arguments))
    logs.configure(settings.log_level, settings.log_format)
    check_reach(settings)
    check_journal(settings)
    check_times(settings)
    warn(settings, os.environ)
    warn_of_secrets(settings, vars(arguments))
    raise_limit(settings.max_connections, settings.workers, n_transports=1 if settings.grpc is None else 2)
    listening = listen_each(settings.host, settings.port, settings.workers)
    if settings.grpc is not None:
        reserved = reserve(settings.host, settings.grpc)
        settings = settings.model_copy(update={"grpc": reserved.getsockname()[1]})
    service = create_app(settings)  # also where workers do the work: what is wrong with the models is said once, here
    announcement = announce(service, *listening[0].getsockname()[:2])
    with live_process(settings):
        if settings.workers > 1:
            keys, certificate = service.gate.keys, service.certificate
            del service  # the parent serves nothing
            with TemporaryDirectory(prefix="calibrant-") as counts, follow_files(keys, certificate) as last:
                return Workers(
                    settings.workers,
                    partial(run_worker, settings, Path(counts), last),
                    listening,
                    timeout_s=settings.worker_timeout_s,
                    drain_delay_s=settings.drain_delay_s,
                    on_ready=partial(print_line, announcement),
                ).run()
        print_line(announcement)
        server = Server(service, owns_process=True)
        server.run(sockets=listening)
        code = 0 if server.started else CannotStart.exit_code
    server.leave(code)
    return code


def announce(service: Service, host: str, port: int) -> str:
    """What is served and where, with one request to try; a line of JSON where the log is of these."""
    rows = [("model", "version", "classes", "method", "temperature", "provider")]
    for versions in service.repository.models.values():
        for model in versions.values():
            about = model.signature
            classes = "any" if about.classes is None else str(about.classes)
            temperature = f"{about.temperature:.4g}"
            rows.append((model.name, model.version, classes, about.method, temperature, model.head.provider))
    place = f"[{host}]" if ":" in host else host
    scheme = "http" if service.certificate is None else "https"
    url = f"{scheme}://{place}:{port}"
    rpc = "" if service.settings.grpc is None else f" and over gRPC on {place}:{service.settings.grpc}"
    pages = f"{url}/console/" if service.settings.console else f"{url}/docs"
    answers, trial = f"Calibrant answers on {url}{rpc}.", f"curl -s {url}{example(service)}"
    if service.settings.log_format == "json":
        models = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
        return logs.json_line(logging.INFO, __name__, answers, models=models, pages=pages, example=trial)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", f"{answers} Open {pages} in a browser, or try:", f"  {trial}", ""])


def print_line(line: str) -> None:
    """Print a line at once, also where it goes into a pipe; rich would take 3 MB for it."""
    print(line, flush=True)  # noqa: T201 - the terminal is where this belongs


def example(service: Service) -> str:
    """The path and the body of a request that the default model answers, or another where it is not there."""
    models = service.repository.models
    name = service.default_model if service.default_model in models else next(iter(models))
    versions = models[name]
    model = versions[max(versions)]
    if model.signature.takes != "logits":
        return f"/v1/models/{name}"
    logits: list[Any] = [2.0, 1.0, 0.1]
    n_classes = model.signature.classes or len(logits)
    logits = [*logits, *[0.0] * n_classes][:n_classes]
    key = "-H 'Authorization: Bearer KEY' " if service.gate.keys.guarded else ""
    return f"/v1/models/{name}/predict {key}-d '{{\"logits\":{str(logits).replace(' ', '')}}}'"
