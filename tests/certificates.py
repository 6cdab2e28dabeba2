"""Certificates of an authority that the tests make."""

import ssl
from pathlib import Path

import httpx
import trustme


class Authority:
    """One that signs for 127.0.0.1, and who trusts it alone."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.context = ssl.create_default_context()
        self.ca.configure_trust(self.context)

    def write(self, folder: Path) -> dict[str, Path]:
        """Write a new certificate and its key into a folder; the options of them."""
        issued = self.ca.issue_cert("127.0.0.1")
        options = {"tls_cert": folder / "cert.pem", "tls_key": folder / "key.pem"}
        options["tls_cert"].write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(options["tls_key"])
        return options

    def client(self, port: int) -> httpx.Client:
        """A client of whoever shows a certificate of this authority."""
        return httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=self.context, timeout=30)

    def is_shown(self, port: int) -> bool:
        """Whether a new connection is shown a certificate of this authority."""
        try:
            with self.client(port) as client:
                return client.get("/healthz").status_code == 200
        except httpx.ConnectError:
            return False
