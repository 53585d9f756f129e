"""Keeps a password that stopped working from being tried by every disk at once: accounts lock after a few.

Each VDDK session logs in by itself. A password that has not worked yet is tried by one session while the
others wait for what comes of it; one that was refused is not tried again by this process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from transferd.errors import AuthenticationError

PATIENCE = 60.0  # s; the session that tries has deadlines of its own, and they are shorter


class Guard:
    """Shared by all sessions with one vCenter. Use `trying` around a login."""

    def __init__(self) -> None:
        self._trying = threading.Lock()
        self._worked: str | None = None
        self._refused: set[str] = set()

    @contextmanager
    def trying(self, password: str) -> Iterator[None]:
        """AuthenticationError, without a login, for a password that was refused before."""
        alone = password != self._worked
        if alone and not self._trying.acquire(timeout=PATIENCE):
            raise AuthenticationError("another session is still trying the password", operation="log in")
        try:
            if password in self._refused:
                raise AuthenticationError(
                    "VDDK refused the password before",
                    operation="log in",
                    remedy="put the right one into passwordFile, then run the command again",
                )
            yield
            self._worked = password
        except AuthenticationError:
            self._refused.add(password)
            self._worked = None
            raise
        finally:
            if alone:
                self._trying.release()
