"""The runtime's own log lines, with the ids of the trace that they belong to.

Its formatters print a log context that has fields for the ids, and nobody fills them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Token
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import Telemetry

_MODULE = "ai_lib_python.telemetry.logger"


def _format(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = _show_ids()
        if token is None:
            return wrapped(*args, **kwargs)
        try:
            return wrapped(*args, **kwargs)
        finally:
            token.var.reset(token)

    return run


@guarded
def _show_ids() -> Token[Any] | None:
    # The context that the application set is not touched: for the time of one line there is another in its place.
    span = get_current_span().get_span_context()
    if not span.is_valid:
        return None
    context = sys.modules[_MODULE]._log_context
    shown = context.get() or {}
    if semconv.TRACE_ID in shown or semconv.SPAN_ID in shown:
        return None
    ids = {semconv.TRACE_ID: format_trace_id(span.trace_id), semconv.SPAN_ID: format_span_id(span.span_id)}
    token: Token[Any] = context.set({**shown, **ids})
    return token


ROWS = (
    Row(_MODULE, "JsonFormatter.format", _format),
    Row(_MODULE, "TextFormatter.format", _format),
)
