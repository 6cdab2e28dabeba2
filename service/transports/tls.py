"""TLS: a certificate and its key in files, which are read again when the certificate is renewed."""

import os
import ssl
from pathlib import Path
from typing import Final, NamedTuple

from service.errors import CannotStart, UsedWrongly
from service.settings import Settings

MISMATCHES: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")  # of OpenSSL's reasons
EXPECTED: Final = "expected a certificate chain and its key, as PEM without a password"


class Pair(NamedTuple):
    """A certificate chain and its private key, as PEM."""

    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return "<Pair>"  # a key stays out of logs


class Certificate:
    """What a server shows to its clients."""

    def __init__(self, chain: Path, key: Path, last: Pair | None = None) -> None:
        """Read it; where that fails, show what was read last, or raise as `read` where there is nothing."""
        self.paths = chain, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.pair = Pair(b"", b"")
        try:
            self.read()
        except CannotStart:
            if last is None or not hasattr(os, "memfd_create"):  # which Linux has
                raise
            load_from_memory(self.context, last)
            self.pair = last

    @classmethod
    def of(cls, settings: Settings, last: Pair | None = None) -> "Certificate | None":
        """That of the settings, if there is one; `last` is what its files held before.

        Raises:
            UsedWrongly: one of the two files is not given.
            CannotStart: as `read`.
        """
        chain, key = settings.tls_cert, settings.tls_key
        if chain is not None and key is not None:
            return cls(chain, key, last)
        if chain is None and key is None:
            return None
        raise UsedWrongly("a certificate and its key belong together; expected --tls-cert FILE and --tls-key FILE")

    def __repr__(self) -> str:
        return f"<Certificate {self.paths[0]}>"

    def read(self) -> bool:
        """Read both files; whether they have changed. New connections get what is there from then on.

        Raises:
            CannotStart: they cannot be read, or do not belong together; the certificate is what it was.
        """
        try:
            pair = Pair(*(path.read_bytes() for path in self.paths))
        except (OSError, ValueError) as error:
            why = f"{error.filename} cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise CannotStart(f"{why}; {EXPECTED}") from error
        if pair == self.pair:
            return False
        try:
            # not yet the context that serves, of which half would be changed by a key that belongs to another
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
                context.load_cert_chain(*self.paths, password=lambda: b"")  # OpenSSL would ask at the terminal
        except OSError as error:  # ssl.SSLError is one
            raise CannotStart(f"{find_fault(*self.paths, pair.key, error)}; {EXPECTED}") from error
        self.pair = pair
        return True


def load_from_memory(context: ssl.SSLContext, pair: Pair) -> None:
    """Show a pair that has no files: OpenSSL takes nothing else, and gets two that are in memory alone."""
    with open(os.memfd_create("chain"), "wb") as chain, open(os.memfd_create("key"), "wb") as key:
        for file, content in zip((chain, key), pair, strict=True):
            file.write(content)
            file.flush()
        context.load_cert_chain(f"/proc/self/fd/{chain.fileno()}", f"/proc/self/fd/{key.fileno()}")


def find_fault(chain: Path, key: Path, secret: bytes, error: OSError) -> str:
    """Which of the two files cannot be used, and why; OpenSSL itself says `PEM lib` of either."""
    reason = getattr(error, "reason", None)
    if reason in MISMATCHES:
        return f"the key in {key} does not belong to the certificate in {chain}"
    if reason or not isinstance(error, ssl.SSLError):
        why = reason.lower().replace("_", " ") if reason else error.strerror
        return f"{chain} and {key} cannot be used: {why}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(chain)
    except OSError:
        return f"{chain} cannot be used: it has no certificate that can be read"
    why = "the key has a password" if b"ENCRYPTED" in secret else "it has no private key that can be read"
    return f"{key} cannot be used: {why}"
