"""What keeps our faults to ourselves."""

from __future__ import annotations

import contextlib
import functools
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, MethodType
from typing import Any, ParamSpec, TypeVar

from opentelemetry_instrumentation_ailib.masking import safe_message

try:
    # Without the enumerations around it, which take twenty times as long: a span processor may fail with every span.
    from _signal import getsignal  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    getsignal = signal.getsignal

_logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def report_fault(site: str, secrets: Iterable[str] = (), *, first: bool) -> None:
    """Log the first fault of ours at a site, with its traceback. The tests replace this by one that lets it through.

    Args:
        site: Where it was.
        secrets: The credentials that its message may quote.
        first: Whether there was none before.
    """
    fault = sys.exc_info()[1]
    if first and fault is not None:
        message = "Telemetry of ai-lib-python is incomplete: a fault in %s (reported once)\n%s"
        # The fault may be that a handler, a filter or the record factory of the application raises. So would this.
        with contextlib.suppress(Exception):
            _logger.warning(message, site, _told(fault, secrets))


def _told(fault: BaseException, secrets: Iterable[str]) -> str:
    # Not by `exc_info`: notes, causes and what the call was failing with may quote credentials, too, at any length.
    frames = "".join(traceback.format_tb(fault.__traceback__))
    name = ".".join(each for each in (type(fault).__module__, type(fault).__qualname__) if each != "builtins")
    try:
        message = safe_message(fault, secrets)
    except Exception:  # It cannot say what it is.
        message = None
    return f"Traceback (most recent call last):\n{frames}{name}{f': {message}' if message else ''}"


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
            report_fault(f"{function.__module__}.{function.__qualname__}", _secrets(args), first=not reported)
            reported = True
            return None

    return call


def _secrets(arguments: Iterable[Any]) -> tuple[str, ...]:
    """Return the credentials of the operation that is among the arguments of a function of ours, if one is."""
    # Its class is asked: the others may be any objects of the application's, of which even the class may raise.
    with contextlib.suppress(Exception):
        return next(each.secrets for each in arguments if isinstance(getattr(type(each), "secrets", None), tuple))
    return ()


def _interrupts(error: Exception) -> bool:
    """Return whether the handler of a signal raised an exception, whatever was running."""
    if threading.current_thread() is not threading.main_thread():
        return False  # Where no handler runs.
    # What stands for no handler cannot be called; its class can, as every enumeration, and fails by itself.
    handlers = [handler for handler in map(getsignal, range(1, signal.NSIG)) if callable(handler)]
    codes = {_code(handler) for handler in handlers}
    codes |= {_code(type(handler).__call__) for handler in handlers if not isinstance(handler, type)}
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def _code(function: Any) -> CodeType | None:
    # By its type alone: a handler may be any object, and what one raises at this moment is not to be caught.
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, MethodType):
        function = function.__func__
    return function.__code__ if isinstance(function, FunctionType) else None
