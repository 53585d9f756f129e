"""Logs are key=value lines on stderr; values are repr'd, so names cannot forge lines.

Set up by the commands that speak to vSphere, which have something to log; a plain copy starts without it.
"""

from __future__ import annotations

import sys

import structlog

WARNING, DEBUG = 30, 10


def set_up() -> None:
    """Everything with --debug anywhere on the command line, else warnings."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(DEBUG if "--debug" in sys.argv else WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
