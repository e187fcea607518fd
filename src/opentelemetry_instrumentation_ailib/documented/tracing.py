"""``Tracer``: with a service name and an endpoint, and its spans as part of the OpenTelemetry trace.

The page's section is 分布式追踪 (distributed tracing).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from opentelemetry_instrumentation_ailib.documented import pipe, spans
from opentelemetry_instrumentation_ailib.patching import Addition, Row, Wrapper

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Target = Callable[..., Any]

DEFAULT_NAME: Final = "ai_lib_python"
"""The name of a tracer that was given an endpoint and no name, as the runtime's own default has it."""


def _init(bundle: Any) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        if "service_name" not in kwargs and "endpoint" not in kwargs:
            return wrapped(*args, **kwargs)
        theirs = {key: value for key, value in kwargs.items() if key not in ("service_name", "endpoint")}
        service_name, endpoint = kwargs.get("service_name"), kwargs.get("endpoint")
        if not args and "name" not in theirs:
            theirs["name"] = service_name or DEFAULT_NAME
        result = wrapped(*args, **theirs)
        pipe.connect(instance, service_name or instance.name, endpoint)
        return result

    return run


def _span(bundle: Any) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        manager = wrapped(*args, **kwargs)  # Or the error of arguments that do not fit, at once.
        return manager if _joins(instance) else spans.joined(instance, wrapped, args, kwargs)

    return run


def _start_span(bundle: Any) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        return wrapped(*args, **kwargs) if _joins(instance) else spans.start_span(wrapped, args, kwargs)

    return run


def _joins(tracer: Any) -> bool:
    # The class of ours that extends the runtime's does so itself.
    return getattr(tracer, "joins_opentelemetry", False) is True


_MODULE = "ai_lib_python.telemetry.tracer"

ROWS = (
    Row(_MODULE, "Tracer.__init__", _init),
    Row(_MODULE, "Tracer.span", _span),
    Row(_MODULE, "Tracer.start_span", _start_span),
    Addition(_MODULE, "Tracer.shutdown", lambda _: pipe.shutdown),
)
