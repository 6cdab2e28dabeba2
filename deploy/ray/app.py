"""The service behind Ray Serve. From the root of the repository, after `make ray`; Ctrl-C stops it.

    RAY_USAGE_STATS_ENABLED=0 .venv/ray/bin/serve run deploy.ray.app:app

Each replica is a process of its own that runs the ASGI app with its lifespan: its own heads, queue and watch of the
models folder, with settings from its environment (`CALIBRANT_*`). Host, port, workers, fast HTTP and drain delay are
Ray's business here. What is asked of one replica is told by one: `/metrics` counts its own requests, and
`/v2/repository/models/.../load` reaches no other; Ray counts over all, and a change of the models folder reaches all.

On Linux, `RAY_SERVE_ENABLE_HA_PROXY=1` in the environment puts the HAProxy that Ray brings in front of the replicas
instead of its proxy in Python: about ten times as many small requests. `serve status` beside a `serve run` wants
`RAY_AUTH_MODE=token`. A cluster that was started with `ray start` reports home unless it got the variable above.
"""

from ray import serve

from service.app import Service, create_app
from service.readiness import check_ready
from service.settings import load
from service.telemetry import logs


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
    max_queued_requests=1024,  # in a proxy, before any replica; anything beyond gets 429, in Ray's own words
    backpressure_config={"status_code": 429, "retry_after_s": 1},
    graceful_shutdown_timeout_s=30,  # as `calibrant serve` has it
    logging_config={"enable_access_log": False},
).bind()
