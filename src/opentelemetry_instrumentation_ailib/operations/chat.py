"""Chat: the two choke points behind ``execute``, ``execute_with_stats``, ``stream`` and ``stream_with_stats``."""

from __future__ import annotations

from typing import Any

from wrapt import ObjectProxy

from opentelemetry_instrumentation_ailib import fields, semconv
from opentelemetry_instrumentation_ailib.operation import Operation, current_operation
from opentelemetry_instrumentation_ailib.operations import base
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import Telemetry, guarded

_MODULE = "ai_lib_python.client.core"


class _TrackedBuilder(ObjectProxy):  # type: ignore[misc]
    """A builder on its way from ``stream_with_stats()`` to the stream, and the statistics that go with it.

    The runtime makes the statistics of a stream before it asks for the stream, in another function and perhaps another
    task; the builder is all that reaches both. It stays the caller's own object, seen through a proxy.
    """

    def __init__(self, builder: Any) -> None:
        super().__init__(builder)
        self._self_stats: Any = None


def _begin(telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
    builder = kwargs.get("builder", args[0] if args else None)
    outer = current_operation()
    if outer is not None and outer.request is builder:
        return None  # execute_with_stats() has opened it.
    stats = getattr(builder, "_self_stats", None) if isinstance(builder, _TrackedBuilder) else None
    operation = Operation(
        telemetry,
        name=semconv.CHAT,
        provider_id=str(client._manifest.id),
        model=semconv.model_name(str(client._model_id)),
        base_url=str(client._transport._base_url),
        request=builder,
    )
    _describe_request(operation, client, builder, stats)
    return operation


@guarded
def _describe_request(operation: Operation, client: Any, builder: Any, stats: Any) -> None:
    operation.set_fields(**dict(fields.request_fields(builder)))
    if stats is not None:
        operation.attributes[semconv.REQUEST_ID] = stats.client_request_id
    executor = client._executor
    if executor is not None and executor.circuit_state in ("closed", "open", "half_open"):
        operation.attributes[semconv.CIRCUIT_BREAKER_STATE] = executor.circuit_state


def _begin_stream(
    telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Operation | None:
    operation = _begin(telemetry, client, args, kwargs)
    if operation is not None:
        operation.set_fields(request_stream=True)
    return operation


def _finish(operation: Operation, response: Any) -> None:
    operation.end(answer=fields.response_answer(response), response=response)


def _finish_with_stats(operation: Operation, result: Any) -> None:
    response, stats = result
    operation.attributes[semconv.REQUEST_ID] = stats.client_request_id
    _finish(operation, response)


def _track_stats(telemetry: Telemetry) -> Wrapper:
    async def run(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if len(args) != 1 or kwargs:
            return await wrapped(*args, **kwargs)
        builder = _TrackedBuilder(args[0])
        events, builder._self_stats = result = await wrapped(builder)
        return result

    return run


ROWS = (
    Row(_MODULE, "AiClient._execute_chat", base.call(_begin, _finish)),
    Row(_MODULE, "AiClient._execute_chat_with_stats", base.call(_begin, _finish_with_stats)),
    Row(_MODULE, "AiClient._execute_stream", base.stream(_begin_stream)),
    Row(_MODULE, "AiClient._execute_stream_with_stats", _track_stats),
)
