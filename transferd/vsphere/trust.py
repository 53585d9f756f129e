"""Whether to believe a server, decided before the password is sent.

The certificate is checked against the CA, or against the given thumbprint and then pinned for the session,
or not at all when the configuration says `insecure`; one never stands in for another. VDDK gets the SHA-1
thumbprint of that certificate.

Where the server is comes first: whoever writes a vcenter.yaml for a transferd that runs in a cluster chooses
what it connects to. The services that clouds keep for their own machines, credentials among them, are
refused by address, whatever name leads there. Loopback is not: a vCenter behind an SSH tunnel is there, as
is the one that the tests use.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from transferd import config
from transferd.errors import AuthenticationError, UsageError
from transferd.model import VCenter

CONNECT_TIMEOUT = 10.0  # s for one TCP connection and TLS handshake
DIGESTS = {40: "sha1", 64: "sha256"}  # by hexadecimal digits
SHOWN = 200  # characters of an URL that an error repeats
NAME = re.compile(r"(?=.{1,253}$)(?:(?!-)[a-z0-9_-]{1,63}(?<!-)\.)*(?!-)[a-z0-9_-]{1,63}(?<!-)\.?")
BARRED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # link-local, where most clouds answer their machines' questions
        "fe80::/10",  # link-local
        "fd00:ec2::254/128",  # Amazon EC2
        "fd20:ce::254/128",  # Google Compute Engine
        "168.63.129.16/32",  # Azure
        "100.100.100.200/32",  # Alibaba Cloud
        "0.0.0.0/32",  # on Linux another name of this machine
        "::/128",
    )
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where vCenter (or one ESXi host) listens, and the certificate it showed."""

    host: str
    port: int
    context: ssl.SSLContext
    thumbprint: str


def check(settings: VCenter) -> Endpoint:
    """Check the certificate as configured. AuthenticationError shows both fingerprints."""
    host, port = address(settings.url)
    wanted = _wanted(settings.thumbprint) if settings.thumbprint is not None else None
    context = _authority(Path(settings.ca_file)) if settings.ca_file is not None else _unchecked()
    _require_elsewhere(host, port)
    der = _certificate(host, port, context)
    if wanted is not None:
        seen = thumbprint(der, DIGESTS[len(wanted)])
        if wanted != seen.replace(":", "").lower():
            raise AuthenticationError(
                f"certificate of {host}:{port} has thumbprint {seen}, not {settings.thumbprint}",
                remedy="find out why before you change the configuration: it may be another server",
            )
        context = _pinned(der)
    return Endpoint(host, port, context, thumbprint(der))


# --- where ------------------------------------------------------------------------------------------------


def address(url: str) -> tuple[str, int]:
    """Host, as DNS and certificates spell it, and port. UsageError for anything but https://HOST[:PORT]/sdk."""
    if "@" in url:
        raise UsageError("url: holds a user or a password", remedy="use username and passwordFile")
    if not url.isprintable() or " " in url:  # urlsplit drops line breaks and tabs without a word
        raise _wrong(url, "holds a space or a control character")
    try:
        parts = urlsplit(url)
        port = 443 if parts.port is None else parts.port
    except ValueError:
        raise _wrong(url, "port is none from 1 to 65535, or an IPv6 address without its brackets") from None
    if parts.scheme != "https" or not parts.hostname:
        raise _wrong(url, "is no https URL")
    if parts.path.rstrip("/") not in {"", "/sdk"} or parts.query or parts.fragment:
        raise _wrong(url, "has another path than /sdk")
    if port == 0:
        raise _wrong(url, "port is none from 1 to 65535")
    return _host(url, parts.hostname), port


def _host(url: str, name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        ascii_name = name.encode("idna").decode()
    except UnicodeError:
        ascii_name = ""
    if NAME.fullmatch(ascii_name) is None:
        raise _wrong(url, "has no host name or address in it")
    return ascii_name


def _wrong(url: str, why: str) -> UsageError:
    return UsageError(f"url {url[:SHOWN]}: {why}", remedy="write https://vcenter.example.com/sdk")


def _require_elsewhere(host: str, port: int) -> None:
    """UsageError if the host is, or its name leads to, an address that no vCenter has."""
    for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        found = ipaddress.ip_address(str(place[0]).partition("%")[0])
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        if found.is_multicast or any(found in network for network in BARRED):
            raise UsageError(
                f"url: {host} is at {found}, which is link-local or a cloud's own service",
                remedy="give the address of a vCenter or an ESXi host",
            )


# --- whom -------------------------------------------------------------------------------------------------


def thumbprint(der: bytes, algorithm: str = "sha1") -> str:
    """Colon-separated fingerprint as vSphere prints it. SHA-1 is VDDK's format, not a choice."""
    return hashlib.new(algorithm, der, usedforsecurity=False).digest().hex(":").upper()


def _wanted(text: str) -> str:
    """The thumbprint's digits, lower case. UsageError unless they are those of SHA-1 or SHA-256."""
    digits = text.replace(":", "").lower()
    if re.fullmatch("(?:[0-9A-Fa-f]{2}:)*[0-9A-Fa-f]{2}|[0-9A-Fa-f]+", text) and len(digits) in DIGESTS:
        return digits
    raise UsageError(
        f"thumbprint {text[:SHOWN]!r}: is none of SHA-1 or SHA-256",
        remedy="give 20 or 32 bytes in hexadecimal: AB:CD:...",
    )


def _certificate(host: str, port: int, context: ssl.SSLContext) -> bytes:
    """The server's own certificate, DER, after whatever checks `context` makes."""
    try:
        with (
            socket.create_connection((host, port), timeout=CONNECT_TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            der = secure.getpeercert(binary_form=True)
    except (ssl.SSLCertVerificationError, ssl.SSLEOFError):  # the caller's: refused, or interrupted
        raise
    except ssl.SSLError as error:
        raise AuthenticationError(
            f"{host}:{port} does not speak TLS 1.2 or newer: {error.reason}",
            remedy="check the port; what is older is not safe, and a vCenter from 6.7 on has TLS 1.2",
        ) from error
    if der is None:
        raise AuthenticationError(f"{host}:{port} showed no certificate")
    return der


def _context() -> ssl.SSLContext:
    """Trusts nobody yet. The floor is not left to the system, whose own may be lower."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _authority(path: Path) -> ssl.SSLContext:
    """Trusts what the certificates in this file have signed, PEM or DER."""
    name = f"caFile {path}"
    found = config.content(path, name=name)
    if b"PRIVATE KEY-----" in found:
        raise UsageError(
            f"{name}: holds a private key",
            remedy="give the certificates alone, and take the key out of where it can be read",
        )
    context = _context()
    try:
        pem = b"-----BEGIN " in found
        context.load_verify_locations(cadata=found.decode("ascii", "ignore") if pem else found)
    except (ValueError, ssl.SSLError) as error:
        raise UsageError(f"{name}: holds no certificate that can be read") from error
    return context


def _unchecked() -> ssl.SSLContext:
    context = _context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _pinned(der: bytes) -> ssl.SSLContext:
    """Trusts this one certificate, whoever signed it."""
    context = _context()
    context.check_hostname = False
    context.load_verify_locations(cadata=der)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context
