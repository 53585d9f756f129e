"""What keeps a password ours: it is in no dump of our memory, and in nothing that others print and we repeat.

Memory: no core is written, of this process or of those that it starts, and no process of the same user may
attach to this one or look into its /proc folder (PR_SET_DUMPABLE in prctl(2); a new program that we start
gets the default back, which is why the limit of cores is there, too).

Text: VMware's library and nbdkit write what they like. What they say passes through a `without` before it is
kept, and the secret is taken out in every spelling that a program is likely to give it.
"""

from __future__ import annotations

import base64
import ctypes
import json
import re
import resource
from collections.abc import Callable
from urllib.parse import quote, quote_plus
from xml.sax.saxutils import escape

PR_SET_DUMPABLE = 4  # linux/prctl.h
HIDDEN = "[hidden]"
SHORTEST = 4  # characters; hiding less would hide words, too, and is no password

_libc = ctypes.CDLL(None, use_errno=True)


def keep_memory() -> None:
    """From here on, for as long as the process lives. OSError if the kernel will not."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def without(secret: str) -> Callable[[str], str]:
    """Takes `secret` out of text, however it is spelt there."""
    spellings = sorted({each for each in _spellings(secret) if len(each) >= SHORTEST}, key=len, reverse=True)
    if not spellings:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, spellings)), re.IGNORECASE)
    return lambda text: pattern.sub(HIDDEN, text)


def _spellings(secret: str) -> list[str]:
    raw = secret.encode()
    return [
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        escape(secret),
        escape(secret, {'"': "&quot;", "'": "&apos;"}),
        escape(secret, {'"': "&#34;", "'": "&#39;"}),
        repr(secret)[1:-1],
        repr(raw)[2:-1],
        json.dumps(secret)[1:-1],
        raw.hex(),
        *(_inside_base64(raw, offset, base64.b64encode) for offset in range(3)),
        *(_inside_base64(raw, offset, base64.urlsafe_b64encode) for offset in range(3)),
    ]


def _inside_base64(raw: bytes, offset: int, encode: Callable[[bytes], bytes]) -> str:
    """The characters that depend on `raw` alone where it stands `offset` bytes behind a multiple of three."""
    text = encode(bytes(offset) + raw).decode().rstrip("=")
    shared_before = -(-offset * 8 // 6)
    shared_after = 0 if (offset + len(raw)) % 3 == 0 else 1
    return text[shared_before : len(text) - shared_after]
