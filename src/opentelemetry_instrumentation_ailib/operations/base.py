"""One wrapper for operations that are coroutines, one for those that are streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import attach
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.patching import Wrapper
from opentelemetry_instrumentation_ailib.streaming import EventStream
from opentelemetry_instrumentation_ailib.telemetry import Telemetry, detach, guarded

Begin = Callable[[Telemetry, Any, tuple[Any, ...], dict[str, Any]], Operation | None]
Finish = Callable[[Operation, Any], None]


def call(begin: Begin, finish: Finish) -> Callable[[Telemetry], Wrapper]:
    """Instrument a coroutine function.

    Args:
        begin: Opens the operation from instance and arguments; ``None`` from it leaves the call alone.
        finish: Ends the operation with the call's result.
    """
    begin, finish = guarded(begin), guarded(finish)

    def build(telemetry: Telemetry) -> Wrapper:
        async def run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            operation = begin(telemetry, instance, args, kwargs) if is_instrumentation_enabled() else None
            if operation is None:
                return await wrapped(*args, **kwargs)
            token = attach(operation.context)
            try:
                result = await wrapped(*args, **kwargs)
            except BaseException as error:
                detach(token, error)
                operation.end(error=error)
                raise
            detach(token)
            finish(operation, result)
            operation.end()  # Does nothing, unless a fault of ours kept the line above from it.
            return result

        return run

    return build


def stream(begin: Begin) -> Callable[[Telemetry], Wrapper]:
    """Instrument a function that returns an asynchronous iterator of events.

    Args:
        begin: Opens the operation when the first event is asked for; ``None`` from it leaves the stream alone.
    """
    begin = guarded(begin)

    def build(telemetry: Telemetry) -> Wrapper:
        def run(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            def open_operation() -> Operation | None:
                return begin(telemetry, instance, args, kwargs) if is_instrumentation_enabled() else None

            return EventStream(wrapped(*args, **kwargs), open_operation)

        return run

    return build
