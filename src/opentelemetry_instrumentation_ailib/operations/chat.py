"""Chat: the two choke points behind ``execute``, ``execute_with_stats``, ``stream`` and ``stream_with_stats``."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import fields, naming, semconv
from opentelemetry_instrumentation_ailib.context import current
from opentelemetry_instrumentation_ailib.conversation import conversation_id
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.listeners import streams_are_logged
from opentelemetry_instrumentation_ailib.live import STATES
from opentelemetry_instrumentation_ailib.masking import held
from opentelemetry_instrumentation_ailib.messages import Conversation, is_text, request_messages, response_messages
from opentelemetry_instrumentation_ailib.operation import Operation, current_operation
from opentelemetry_instrumentation_ailib.operations import base
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.snapshot import as_sent
from opentelemetry_instrumentation_ailib.telemetry import Telemetry

_MODULE, _BUILDER_MODULE = "ai_lib_python.client.core", "ai_lib_python.client.builder"


def _statistics() -> Any:
    """Return the statistics of a stream that ``stream_with_stats()`` made, or ``None``.

    The runtime makes them before it asks for the stream, perhaps in another task, and hands them to nobody but the
    generator that asks: in whose frame they are found. Whatever else could tie the two together, a caller could notice.
    """
    # From the caller of ``observed`` on: a frame of an open stream that is looked at stays for as long as the stream.
    frame = sys._getframe(4)
    for _ in range(8):
        asker = frame.f_globals.get("__name__"), frame.f_code.co_name
        if asker == (_MODULE, "wrapped_stream"):
            return frame.f_locals.get("stats")
        # A stream without any may be read for one that has them, by a transport of the user's own.
        if asker == (_BUILDER_MODULE, "stream") or frame.f_back is None:
            break
        frame = frame.f_back
    return None


def _begin(
    telemetry: Telemetry,
    client: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    heard: bool = False,
    stream: bool = False,
) -> Operation | None:
    telemetry = telemetry.of(client)
    heard = heard or telemetry.listeners.present()
    builder = kwargs.get("builder", args[0] if args else None)
    outer = current_operation()
    if outer is not None and outer.caller is client:
        # execute_with_stats() has opened it. A call that comes later, from within, is one of its own.
        outer.caller = None
        return None
    operation = Operation(
        telemetry,
        name=semconv.CHAT,
        provider_id=naming.text(client._manifest.id) or "",
        model=naming.model_name(str(client._model_id)),
        # A transport of the user's own may have none.
        base_url=str(getattr(client._transport, "_base_url", "")),
        request=builder,
        describe=partial(_request_attributes, builder, stream) if heard else dict,
        heard=heard,
        secrets=(_held(client._transport) or ()) if heard else (),
    )
    operation.target = client._manifest, client._model_id
    operation.loader = getattr(client, "_loader", None)
    operation.executor = executor = getattr(client, "_executor", None)
    if heard:
        if executor is not None:
            _note_breaker(operation, executor)
        if telemetry.content.wanted or telemetry.content.emits:
            _note_content(operation, builder)
        if telemetry.pricer is not None:
            operation.text_only = _is_text(builder) or False
    return operation


def _request_attributes(builder: Any, stream: bool) -> dict[str, AttributeValue]:
    attributes = fields.request_attributes(builder)
    if stream:
        attributes[semconv.REQUEST_STREAM] = True
    conversation = conversation_id() if current() else None
    if conversation is not None:
        attributes[semconv.CONVERSATION_ID] = conversation
    return attributes


_is_text = guarded(is_text)


@guarded
def _note_breaker(operation: Operation, executor: Any) -> None:
    if executor.circuit_state in STATES:
        operation.attributes[semconv.CIRCUIT_BREAKER_STATE] = executor.circuit_state


_held = guarded(held)


@guarded
def _note_content(operation: Operation, builder: Any) -> None:
    content = operation.telemetry.content
    if content.wanted:
        inputs, system, tools = request_messages(builder)
        operation.conversation = as_sent(Conversation(inputs, [], system, tools))
    else:
        operation.conversation = Conversation()


def _begin_with_stats(
    telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Operation | None:
    operation = _begin(telemetry, client, args, kwargs)
    if operation is not None:
        operation.caller = client
        if not operation.heard:
            operation.conceal(_held(client._transport) or ())
    return operation


def _begin_stream(telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation | None:
    stats = _statistics()
    # What the statistics get of the answer is in the first frame as well as in the events.
    heard = stats is not None or streams_are_logged()
    operation = _begin(telemetry, client, args, kwargs, heard=heard, stream=True)
    if operation is not None and stats is not None:
        operation.identify(stats)
    return operation


def _finish(operation: Operation, response: Any) -> None:
    if not operation.heard and operation.statistics is None:
        operation.end()  # Whatever the answer says.
        return
    if operation.telemetry.content.wanted:
        operation.outputs = _response_messages(response) or []
    operation.end(answer=fields.response_answer(response), response=response)


_response_messages = guarded(response_messages)


def _finish_with_stats(operation: Operation, result: Any) -> None:
    response, stats = result
    operation.identify(stats)
    _finish(operation, response)


def _execute(telemetry: Telemetry) -> Wrapper:
    _ = telemetry.pricer  # Loaded while the application imports the runtime, not while it makes its first call.
    return base.call(_begin, _finish)(telemetry)


ROWS = (
    Row(_MODULE, "AiClient._execute_chat", _execute),
    Row(_MODULE, "AiClient._execute_chat_with_stats", base.call(_begin_with_stats, _finish_with_stats)),
    Row(_MODULE, "AiClient._execute_stream", base.stream(_begin_stream)),
)
