"""Whether to believe a server, decided before the password is sent.

The certificate is checked against the CA, or against the given thumbprint and then pinned for the session,
or not at all when the configuration says `insecure`. VDDK gets the SHA-1 thumbprint of that certificate.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from transferd.errors import AuthenticationError, UsageError
from transferd.model import VCenter

CONNECT_TIMEOUT = 10.0  # s for one TCP connection and TLS handshake


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where vCenter (or one ESXi host) listens, and the certificate it showed."""

    host: str
    port: int
    context: ssl.SSLContext
    thumbprint: str


def thumbprint(der: bytes, algorithm: str = "sha1") -> str:
    """Colon-separated fingerprint as vSphere prints it. SHA-1 is VDDK's format, not a choice."""
    return hashlib.new(algorithm, der, usedforsecurity=False).digest().hex(":").upper()


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port or 443
    except ValueError as error:
        raise UsageError(f"url {url}: {error}") from error
    if parts.scheme != "https" or not parts.hostname:
        raise UsageError(f"url {url}: not an https URL", remedy="write https://vcenter.example.com/sdk")
    return parts.hostname, port


def _certificate(host: str, port: int, context: ssl.SSLContext) -> bytes:
    """The server's own certificate, DER, after whatever checks `context` makes."""
    with (
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    if der is None:
        raise AuthenticationError(f"{host}:{port} showed no certificate")
    return der


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _pinned(der: bytes) -> ssl.SSLContext:
    """Trusts this one certificate, whoever signed it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=der)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def check(config: VCenter) -> Endpoint:
    """Check the certificate as configured. AuthenticationError shows both fingerprints."""
    host, port = _address(config.url)
    if config.thumbprint is not None:
        der = _certificate(host, port, _unchecked())
        wanted = config.thumbprint.replace(":", "").lower()
        seen = thumbprint(der, "sha256" if len(wanted) == 64 else "sha1")  # noqa: PLR2004 (hex digits)
        if wanted != seen.replace(":", "").lower():
            raise AuthenticationError(
                f"certificate of {host}:{port} has thumbprint {seen}, vcenter.yaml says {config.thumbprint}",
                remedy="find out why before you change the configuration: it may be another server",
            )
        return Endpoint(host, port, _pinned(der), thumbprint(der))
    if config.ca_file is not None:
        try:
            context = ssl.create_default_context(cafile=config.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"caFile {config.ca_file}: holds no certificate that can be read") from error
    else:
        context = _unchecked()
    return Endpoint(host, port, context, thumbprint(_certificate(host, port, context)))
