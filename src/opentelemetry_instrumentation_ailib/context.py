"""The current context: OpenTelemetry's, read and set at the cost of the context variable that holds it.

By way of OpenTelemetry's functions each step costs several calls, and a call of the runtime's takes a dozen of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from contextvars import Context as RuntimeContext
from contextvars import ContextVar, Token, copy_context
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from opentelemetry_instrumentation_ailib.collected import closes

NOWHERE: Final = Context()
"""A context without anything."""

# A garbage collection that closes a coroutine may have begun inside ContextVar.set(), and in the very context that the
# coroutine ran in. A copy keeps what that reads, as long as the step of the event loop takes: python/cpython#148891.
_INTERRUPTED: Final = sys.version_info < (3, 12)


class _Functions:
    """OpenTelemetry's functions in place of the variable, for a runtime context that keeps none."""

    get = staticmethod(otel_context.get_current)
    set = staticmethod(otel_context.attach)
    reset = staticmethod(otel_context.detach)


def _variable() -> Any:
    token: object = otel_context.attach(NOWHERE)
    variable = token.var if isinstance(token, Token) else None
    known = isinstance(variable, ContextVar) and variable.get(None) is NOWHERE
    otel_context.detach(token)  # type: ignore[arg-type]
    return variable if known else _Functions


_VARIABLE: Final = _variable()
current: Final[Callable[[], Context]] = _VARIABLE.get
"""Return the current context."""
attach: Final[Callable[[Context], Any]] = _VARIABLE.set
"""Make a context the current one, and return the token for ``detach``."""
reset: Final[Callable[[Any], None]] = _VARIABLE.reset
"""Detach a context where nothing can be in the way: in the very step that attached it."""


def detach(token: Any, error: BaseException | None = None) -> None:
    """Detach a context, if one was attached.

    Args:
        token: What ``attach`` returned, or ``None``.
        error: The exception that is passing, if any.
    """
    if token is None:
        return
    closing = error is not None and closes(error)  # Each call comes here, and nearly each without one.
    before = copy_context() if closing and _INTERRUPTED else None
    try:
        reset(token)
    except (ValueError, RuntimeError):
        # A coroutine that gets closed may be closed from another context than it ran in. There the token is worthless.
        if not closing:
            otel_context.detach(token)  # Which reports it.
    else:
        if before is not None:
            _keep(before)


def _keep(context: RuntimeContext) -> None:
    with contextlib.suppress(RuntimeError):  # There may be no loop: then nobody knows for how long.
        asyncio.get_running_loop().call_soon(_let_go, context)


def _let_go(_: RuntimeContext) -> None:
    """Do nothing."""
