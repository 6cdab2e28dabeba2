"""The service behind Ray Serve: `serve run deploy.ray.app:app`, from the root of the repository, after `make ray`.

Each replica is a process of its own that runs the ASGI app with its lifespan: its own heads, queue and watch of the
models folder, and the settings of its environment (`CALIBRANT_*`). Host, port, workers, fast lane and drain delay are
Ray's business here, and so is counting over all replicas: `/metrics` answers for one of them.
"""

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports home otherwise

from ray import serve

from service import logs
from service.api.operations import check_ready
from service.app import Service, create_app
from service.settings import load


def build() -> Service:
    """What a replica serves."""
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    return create_app(settings)


@serve.ingress(build)
class Calibrant:
    """A replica."""

    app: Service  # set by Ray

    async def check_health(self) -> None:
        """Raise when the batcher is dead: Ray replaces the replica."""
        check_ready(self.app)


app = serve.deployment(
    Calibrant,
    ray_actor_options={"num_cpus": 1},  # a replica decodes, batches and encodes on one event loop
    autoscaling_config={
        "min_replicas": 1,
        "max_replicas": 4,
        "target_ongoing_requests": 16,  # more at once in one replica wait longer, and no more of them are answered
        "upscale_delay_s": 10,
    },
    max_ongoing_requests=64,  # what was sent to a replica cannot be sent to the next one when that starts
    max_queued_requests=1024,  # in a proxy, before any replica; what comes on top gets 429, in Ray's own words
    backpressure_config={"status_code": 429, "retry_after_s": 1},
    graceful_shutdown_timeout_s=30,  # as `calibrant serve` has it
    logging_config={"enable_access_log": False},
).bind()
