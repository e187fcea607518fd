"""Chat: the two choke points behind ``execute``, ``execute_with_stats``, ``stream`` and ``stream_with_stats``."""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry_instrumentation_ailib import fields, semconv
from opentelemetry_instrumentation_ailib.operation import Operation, current_operation
from opentelemetry_instrumentation_ailib.operations import base
from opentelemetry_instrumentation_ailib.patching import Row
from opentelemetry_instrumentation_ailib.telemetry import Telemetry, guarded

_MODULE = "ai_lib_python.client.core"


def _statistics() -> Any:
    """Return the statistics of a stream that ``stream_with_stats()`` made, or ``None``.

    The runtime makes them before it asks for the stream, perhaps in another task, and hands them to nobody but the
    generator that asks: in whose frame they are found. Whatever else could tie the two together, a caller could notice.
    """
    frame = sys._getframe(1)
    for _ in range(12):
        if frame.f_code.co_name == "wrapped_stream" and frame.f_globals.get("__name__") == _MODULE:
            return frame.f_locals.get("stats")
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None


def _begin(telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
    builder = kwargs.get("builder", args[0] if args else None)
    outer = current_operation()
    if outer is not None and outer.caller is client:
        # execute_with_stats() has opened it. A call that comes later, from within, is one of its own.
        outer.caller = None
        return None
    operation = Operation(
        telemetry,
        name=semconv.CHAT,
        provider_id=semconv.text(client._manifest.id) or "",
        model=semconv.model_name(str(client._model_id)),
        base_url=str(client._transport._base_url),
        request=builder,
    )
    _describe_request(operation, client, builder)
    return operation


def _begin_with_stats(
    telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Operation | None:
    operation = _begin(telemetry, client, args, kwargs)
    if operation is not None:
        operation.caller = client
    return operation


@guarded
def _describe_request(operation: Operation, client: Any, builder: Any) -> None:
    operation.set_fields(**dict(fields.request_fields(builder)))
    executor = client._executor
    if executor is not None and executor.circuit_state in ("closed", "open", "half_open"):
        operation.attributes[semconv.CIRCUIT_BREAKER_STATE] = executor.circuit_state


def _begin_stream(telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
    operation = _begin(telemetry, client, args, kwargs)
    if operation is not None:
        operation.set_fields(request_stream=True)
        stats = _statistics()
        if stats is not None:
            operation.attributes[semconv.REQUEST_ID] = stats.client_request_id
    return operation


def _finish(operation: Operation, response: Any) -> None:
    operation.end(answer=fields.response_answer(response), response=response)


def _finish_with_stats(operation: Operation, result: Any) -> None:
    response, stats = result
    operation.attributes[semconv.REQUEST_ID] = stats.client_request_id
    _finish(operation, response)


ROWS = (
    Row(_MODULE, "AiClient._execute_chat", base.call(_begin, _finish)),
    Row(_MODULE, "AiClient._execute_chat_with_stats", base.call(_begin_with_stats, _finish_with_stats)),
    Row(_MODULE, "AiClient._execute_stream", base.stream(_begin_stream)),
)
