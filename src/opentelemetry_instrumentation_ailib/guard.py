"""What keeps our faults to ourselves."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

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
    """
    reported = False

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | None:
        nonlocal reported
        try:
            return function(*args, **kwargs)
        except Exception:
            report_fault(f"{function.__module__}.{function.__qualname__}", first=not reported)
            reported = True
            return None

    return call
