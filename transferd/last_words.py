"""What a worker leaves for whoever started it: the whole result in its log, a short one where it ends.

Kubernetes cuts a termination message at 4096 bytes, so it holds only how it ended and the digest of the rest:
the last line on stdout, by which a reader knows that it has all of it.
"""

from __future__ import annotations

import json
from pathlib import Path

import structlog
from blake3 import blake3

from transferd.model import Result

log = structlog.get_logger()

MARK = "TRANSFERD_RESULT "
LONGEST = 3072  # bytes of the termination message
CUT = 500  # characters of an error's text, of 4 bytes each at most, that fit in any case


def line(result: Result) -> str:
    """The last line on stdout."""
    return MARK + _json(result)


def message(result: Result) -> str:
    """The termination message, at most LONGEST bytes."""
    said = {
        "schema": 1,
        "outcome": result.outcome,
        "result_blake3": blake3(_json(result).encode()).hexdigest(),
    }
    text = json.dumps({**said, "error": result.error}, ensure_ascii=False)
    if len(text.encode()) > LONGEST:
        error = result.error or {}
        short = {"kind": error.get("kind"), "exit_code": error.get("exit_code")}
        text = json.dumps(
            {**said, "error": {**short, "message": str(error.get("message"))[:CUT]}}, ensure_ascii=False
        )
    return text


def leave(path: Path, result: Result) -> None:
    """Write the termination message. A place that cannot be written changes nothing about how it ended."""
    try:
        path.write_text(message(result))
    except OSError as error:
        log.warning("termination message not written", path=str(path), reason=error.strerror)


def _json(result: Result) -> str:
    return json.dumps(result.model_dump(mode="json", by_alias=True))
