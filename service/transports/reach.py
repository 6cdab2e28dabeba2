"""Who reaches the service."""

import socket
from ipaddress import ip_address

from service.errors import UsedWrongly
from service.settings import Settings


def check_reach(settings: Settings) -> None:
    """Refuse to let others reach a service that wants no key.

    Raises:
        UsedWrongly: the host is not this machine's alone, and --insecure is not given.
    """
    if settings.insecure or settings.keys or settings.api_keys_file is not None or is_loopback(settings.host):
        return
    raise UsedWrongly(
        f"without API keys everybody who reaches {settings.host} may ask; expected --api-keys-file FILE, "
        "--host 127.0.0.1, or --insecure to let them"
    )


def is_loopback(host: str) -> bool:
    """Whether all addresses of a host are this machine's alone; a name without any is left to who listens there."""
    try:
        found = socket.getaddrinfo(host, None)
    except OSError:
        return True
    return all(ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
