"""The port of the gRPC server: what its connections are held to, and TLS."""

from typing import Any, Final

import grpc

from service.errors import CannotStart
from service.settings import Settings
from service.transports.tls import Certificate, Pair

MAX_STREAMS: Final = 1024  # calls at once on one connection
KEEPALIVE_MS: Final = 30_000  # how long a connection may be silent before it is asked whether it lives


def channel_options(settings: Settings) -> tuple[tuple[str, int], ...]:
    """What the C core holds its clients to; it knows neither a least rate nor a time for one message."""
    header_timeout_ms = int(1e3 * settings.header_timeout_s)
    connections = (("grpc.max_allowed_incoming_connections", settings.max_connections),)
    return (
        ("grpc.max_receive_message_length", settings.max_body_bytes),  # packed and unpacked
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 1),  # several workers listen on one port
        ("grpc.max_metadata_size", settings.max_header_bytes),
        ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
        ("grpc.max_concurrent_streams", MAX_STREAMS),
        ("grpc.server_handshake_timeout_ms", header_timeout_ms),
        ("grpc.http2.settings_timeout", header_timeout_ms),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", header_timeout_ms),
        *(connections if settings.max_connections else ()),
    )


def add_port(server: Any, settings: Settings, certificate: Certificate | None) -> None:
    """Listen on the settings' port, with TLS where there is a certificate.

    Raises:
        CannotStart: the port is taken.
    """
    address = f"[{settings.host}]:{settings.grpc}" if ":" in settings.host else f"{settings.host}:{settings.grpc}"
    try:
        if certificate is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, renewed_credentials(certificate))
    except RuntimeError as error:
        raise CannotStart(f"cannot listen on {address}: take another port with --grpc") from error


def renewed_credentials(certificate: Certificate) -> Any:
    """Credentials that are looked at in every handshake."""
    shown = certificate.pair

    def configure(pair: Pair) -> Any:
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)])

    def renew() -> Any:
        nonlocal shown
        if shown is certificate.pair:
            return None  # gRPC's word for no change
        shown = certificate.pair
        return configure(shown)

    return grpc.dynamic_ssl_server_credentials(configure(shown), renew)
