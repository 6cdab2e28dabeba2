"""The tests of this folder run over every class that reads connections; elsewhere two transports do."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from service.transports.fast import FastProtocol
from service.transports.fast_known import KnownProtocol
from service.transports.ordinary import OrdinaryProtocol
from tests.conftest import Running, serving

# the last has nothing but ASGI behind it
PROTOCOLS: dict[str, type[OrdinaryProtocol]] = {
    "fast HTTP": KnownProtocol,
    "fast HTTP without a memory": FastProtocol,
    "ASGI": OrdinaryProtocol,
}


@pytest.fixture(scope="session", params=PROTOCOLS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """The shipped models, over one transport after the other."""
    with serving(protocol=PROTOCOLS[request.param]) as service:
        yield service


@pytest.fixture(params=PROTOCOLS)
def run(request: pytest.FixtureRequest) -> Iterator[Callable[..., Running]]:
    """Make a service with settings of one's own, over one transport after the other."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(protocol=PROTOCOLS[request.param], **options))


@pytest.fixture(scope="package")
def everywhere() -> Iterator[list[Running]]:
    """The same models over all transports, side by side."""
    with ExitStack() as stack:
        yield [stack.enter_context(serving(protocol=protocol)) for protocol in PROTOCOLS.values()]
