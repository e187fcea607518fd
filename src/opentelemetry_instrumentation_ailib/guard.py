"""What keeps our faults to ourselves."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

try:
    # Without the enumerations around it, which take twenty times as long: a span processor may fail with every span.
    from _signal import getsignal  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    getsignal = signal.getsignal

_logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def report_fault(site: str, *, first: bool) -> None:
    """Log the first fault of ours at a site, with its traceback. The tests replace this by one that lets it through."""
    if first:
        message = "Telemetry of ai-lib-python is incomplete: a fault in %s (reported once)\n%s"
        # The fault may be that a handler, a filter or the record factory of the application raises. So would this.
        with contextlib.suppress(Exception):
            # Not by `exc_info`, which tells of the exception that a call was failing with, too, unmasked.
            fault = traceback.format_exception(*sys.exc_info(), chain=False)
            _logger.warning(message, site, "".join(fault).rstrip())


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make a function of ours unable to raise: a fault is logged, once for each function, and the result is ``None``.

    The runtime answers exceptions with retries and fallback models, so one of ours would change what a call does.
    What a signal's handler raises, as one that limits the time does, is the application's, and passes.
    """
    reported = False

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        nonlocal reported
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if _interrupts(error):
                raise
            report_fault(f"{function.__module__}.{function.__qualname__}", first=not reported)
            reported = True
            return None

    return call


def _interrupts(error: Exception) -> bool:
    """Return whether the handler of a signal raised an exception, whatever was running."""
    if threading.current_thread() is not threading.main_thread():
        return False  # Where no handler runs.
    try:
        # What stands for no handler cannot be called; its class can, as every enumeration, and fails by itself.
        handlers = filter(callable, map(getsignal, range(1, signal.NSIG)))
        known = [getattr(handler, "func", handler) for handler in handlers]
        methods = [type(handler).__call__ for handler in known if not isinstance(handler, type)]
        codes = {getattr(function, "__code__", None) for function in (*known, *methods)}
        return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))
    except Exception:
        return False  # A handler may be any object.
