"""Servers that show a certificate of the test's choosing, and remember what they were told in spite of it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 5.0  # s for whoever has connected to say something
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Certificate:
    """PEM files."""

    file: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.file.read_text())


def certificate(
    folder: Path, name: str, *, host: str = "127.0.0.1", days: int = 1, by: Certificate | None = None
) -> Certificate:
    """For an address; signed `by` another, or by itself. Less than 0 days: expired so long ago."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    authority = "basicConstraints=critical,CA:TRUE\nkeyUsage=digitalSignature,keyCertSign\n" if not by else ""
    extensions.write_text(f"subjectAltName=IP:{host}\n{authority}")
    _openssl(
        "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-subj", f"/CN={name}", "-keyout", made.key, "-out", request,
    )  # fmt: skip
    signer = ["-CA", by.file, "-CAkey", by.key, "-CAcreateserial"] if by else ["-signkey", made.key]
    _openssl(
        "x509", "-req", "-in", request, "-out", made.file, "-days", days, "-extfile", extensions, *signer
    )
    return made


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


@dataclass
class Server:
    """`heard` is all that clients sent inside TLS, that is, after they had accepted the certificate."""

    url: str
    heard: bytes = b""


@contextmanager
def serving(contexts: Sequence[ssl.SSLContext | None], host: str = "127.0.0.1") -> Iterator[Server]:
    """One context for each connection in turn, the last for all others; None speaks no TLS."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        place = f"[{host}]" if ":" in host else host
        server = Server(f"https://{place}:{listener.getsockname()[1]}/sdk")
        listener.settimeout(0.1)
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, contexts, server, over))
        thread.start()
        try:
            yield server
        finally:
            over.set()
            thread.join()


def _serve(
    listener: socket.socket,
    contexts: Sequence[ssl.SSLContext | None],
    server: Server,
    over: threading.Event,
) -> None:
    count = 0
    while not over.is_set():
        with suppress(OSError):  # nobody there yet, or gone again: TimeoutError and ssl.SSLError are of these
            plain, _ = listener.accept()
            context = contexts[min(count, len(contexts) - 1)]
            count += 1
            plain.settimeout(PATIENCE)
            with context.wrap_socket(plain, server_side=True) if context else plain as talking:
                server.heard += talking.recv(65536)
                talking.sendall(NOT_FOUND)
