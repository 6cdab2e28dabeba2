"""The files and sockets that a process may have open."""

import logging
import resource
from typing import Final

logger = logging.getLogger(__name__)

OWN: Final = 256  # that the service needs beside its connections


def raise_limit(max_connections: int, n_workers: int = 1, n_transports: int = 1) -> None:
    """Let each transport have so many connections, as far as the hard limit goes; the log says where that is too few.

    Each of the workers holds the listening sockets of all, twice where it listens in another's place.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n_connections = n_transports * max_connections
    needed = n_connections + OWN + 2 * (n_workers - 1)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        logger.warning(
            "the process may open %d files, which is too few for %d connections: raise the limit (ulimit -n %d) "
            "or lower --max-connections",
            allowed,
            n_connections,
            needed,
        )
