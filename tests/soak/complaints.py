"""Who complains of what: OpenTelemetry, asyncio, Python, and we of a fault of ours."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

from hooks import HookError
from outlets import ExportError
from tally import Tally

from opentelemetry_instrumentation_ailib import guard


class Complaints(logging.Handler):
    """What is complained of. The lines of ``ai_lib.*`` are counted and dropped, and so is what the soak provokes.

    Attributes:
        heard: The first hundred of them.
        lines: How many lines there were about calls.
        swallowed: How many exceptions of hooks were kept from the application.
        provoked: How many complaints there were of an exporter that fails, and of its queue.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []
        self.lines = 0
        self.swallowed = Tally()
        self.provoked = 0
        self._report = guard.report_fault

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("ai_lib."):
            self.lines += bool(record.getMessage())
        elif _provoked(record):
            self.provoked += 1
        elif record.levelno >= logging.WARNING and len(self.heard) < 100:
            self.heard.append(f"{record.name}: {self.format(record)}")

    def note(self, arguments: Any) -> None:
        """Take what Python has to say of an exception that nobody caught."""
        what = getattr(arguments, "exc_value", arguments)
        self.heard.append(f"{what!r} in {getattr(arguments, 'object', None) or getattr(arguments, 'thread', None)!r}")

    def report_fault(self, site: str, secrets: Iterable[str], *, first: bool) -> None:
        """Take what our guard swallows: each time, and not only the first."""
        if isinstance(sys.exc_info()[1], HookError):
            self.swallowed.step()
        else:
            self._report(site, secrets, first=True)


def _provoked(record: logging.LogRecord) -> bool:
    # One queue is small. That no other was full is known from what was exported.
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, ExportError) or record.getMessage() == "Queue full, dropping Span."


@contextlib.contextmanager
def complaints() -> Iterator[Complaints]:
    """Listen to them all."""
    heard, root, lines = Complaints(), logging.getLogger(), logging.getLogger("ai_lib")
    hooks, level = (sys.unraisablehook, threading.excepthook), lines.level
    lines.setLevel(logging.INFO)
    root.addHandler(heard)
    # Of these there are so many that nobody else is to keep them.
    alone = (lines, logging.getLogger("opentelemetry.sdk._shared_internal"))
    propagates = [logger.propagate for logger in alone]
    for logger in alone:
        logger.addHandler(heard)
        logger.propagate = False
    sys.unraisablehook = threading.excepthook = heard.note
    try:
        with mock.patch.object(guard, "report_fault", heard.report_fault):
            yield heard
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        for logger, propagate in zip(alone, propagates, strict=True):
            logger.propagate = propagate
            logger.removeHandler(heard)
        root.removeHandler(heard)
        lines.setLevel(level)
