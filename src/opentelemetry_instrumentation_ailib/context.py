"""The current context: OpenTelemetry's, read and set at the cost of the context variable that holds it.

By way of OpenTelemetry's functions each step costs several calls, and a call of the runtime's takes a dozen of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from opentelemetry_instrumentation_ailib.collected import closes

NOWHERE: Final = Context()
"""A context without anything."""


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
    try:
        reset(token)
    except (ValueError, RuntimeError):
        # A coroutine that gets closed may be closed from another context than it ran in. There the token is worthless.
        if not closes(error):
            otel_context.detach(token)  # Which reports it.
