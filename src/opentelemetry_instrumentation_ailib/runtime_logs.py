"""The runtime's own log lines, with the ids of the trace that they belong to.

Its formatters print a log context that has fields for the ids, and nobody fills them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import Telemetry

_MODULE = "ai_lib_python.telemetry.logger"


def _format(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        context = _show_ids()
        return wrapped(*args, **kwargs) if context is None else context.run(wrapped, *args, **kwargs)

    return run


@guarded
def _show_ids() -> Context | None:
    # What the application set is not touched: a line is formatted in a context of its own. It may be one that comes of
    # a garbage collection, in the middle of a change of the current context.
    span = get_current_span().get_span_context()
    if not span.is_valid:
        return None
    known = sys.modules[_MODULE]._log_context
    shown = known.get() or {}
    if semconv.TRACE_ID in shown or semconv.SPAN_ID in shown:
        return None
    ids = {semconv.TRACE_ID: format_trace_id(span.trace_id), semconv.SPAN_ID: format_span_id(span.span_id)}
    context = copy_context()
    context.run(known.set, {**shown, **ids})
    return context


ROWS = (
    Row(_MODULE, "JsonFormatter.format", _format),
    Row(_MODULE, "TextFormatter.format", _format),
)
