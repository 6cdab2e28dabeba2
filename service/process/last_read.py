"""API keys and certificate in the parent of several workers: kept as they were read last, for one that starts later."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from service.errors import CannotStart
from service.transports.keys import Keys
from service.transports.renewal import LOOK_S, LastRead
from service.transports.tls import Certificate


@contextmanager
def follow_files(keys: Keys, certificate: Certificate | None) -> Iterator[LastRead]:
    """What their files held last, followed as the workers do, who say what is wrong with them."""
    last, done = LastRead(keys.content, None if certificate is None else certificate.pair), threading.Event()

    def follow() -> None:
        while not done.wait(LOOK_S):
            with suppress(CannotStart):
                keys.read()
            last.keys = keys.content
            if certificate is not None:
                with suppress(CannotStart):
                    certificate.read()
                last.pair = certificate.pair

    thread = threading.Thread(target=follow, name="calibrant-files", daemon=True)
    if keys.path is not None or certificate is not None:
        thread.start()
    try:
        yield last
    finally:
        done.set()
