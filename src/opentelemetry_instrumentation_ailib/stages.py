"""The five stages in the order of a request. Each finds its operation through the current context."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from opentelemetry_instrumentation_ailib import naming, protocol, semconv
from opentelemetry_instrumentation_ailib.collected import unlocked
from opentelemetry_instrumentation_ailib.context import detach
from opentelemetry_instrumentation_ailib.exchange import (
    Exchange,
    StreamExchange,
    begin_exchange,
    enter,
    note_answer,
)
from opentelemetry_instrumentation_ailib.frames import traced
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.operation import Operation, current_operation
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.pipeline import PipelineView, timed_body
from opentelemetry_instrumentation_ailib.quiet import QuietEntry, exposed, quietly
from opentelemetry_instrumentation_ailib.stream_state import StreamState
from opentelemetry_instrumentation_ailib.telemetry import Telemetry

Arguments = tuple[Any, ...]
Keywords = dict[str, Any]
Target = Callable[..., Any]

# --- request.compile ---


def _compile(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        operation = current_operation()
        # The clock of a stream measures its compilation.
        if operation is None or operation.stream is not None:
            return wrapped(*args, **kwargs)
        if not operation.heard and not operation.attempts.fallbacks:
            operation.stage = semconv.REQUEST_COMPILE
            payload = wrapped(*args, **kwargs)
            operation.stage = semconv.HTTP_TRANSPORT
            return payload
        _begin_compile(operation, kwargs)
        try:
            payload = wrapped(*args, **kwargs)
        except BaseException as error:
            _leave(operation, error)
            del operation  # The exception may live long, and refers to this frame.
            raise
        _completed(operation)
        operation.stage = semconv.HTTP_TRANSPORT  # A transport of the user's own may say nothing of an exchange.
        return payload

    return run


@guarded
def _begin_compile(operation: Operation, kwargs: Keywords) -> None:
    if operation.queued is not None:
        operation.dequeue()
    if operation.entered is not None:
        # A body that an earlier attempt failed to parse: which error that was, nobody told us.
        operation.attempts.failed |= operation.leave(semconv.OTHER)
    manifest, model = target = kwargs.get("manifest"), kwargs.get("model_id")
    if manifest is not operation.target[0] or model is not operation.target[1]:
        operation.target = target
        if manifest is not None and isinstance(model, str):
            operation.answered_by(naming.text(manifest.id) or "", naming.model_name(model))
    operation.enter(semconv.REQUEST_COMPILE)


_completed = guarded(Operation.leave)


@guarded
def _leave(operation: Operation, error: BaseException) -> None:
    operation.leave(naming.failure_type(error))


# --- http.transport ---


def _request(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        operation = current_operation()
        if operation is None:
            return quietly(wrapped(*args, **kwargs)) if exposed(instance) else wrapped(*args, **kwargs)
        exchange = _exchange if operation.heard else _unheard
        return exchange(operation, wrapped, instance, args, kwargs)

    return run


async def _unheard(operation: Operation, wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    operation.stage = semconv.HTTP_TRANSPORT
    call = wrapped(*args, **kwargs)
    response = await (quietly(call) if exposed(instance) else call)
    operation.stage = semconv.PIPELINE_PROCESS  # From its JSON on, as an exchange has it.
    return response


async def _exchange(operation: Operation, wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
    started = perf_counter()
    exchange = begin_exchange(operation, started, instance, args, kwargs)
    token = enter(exchange, instance)
    try:
        response = await wrapped(*args, **kwargs)
    except BaseException as error:
        detach(token, error)
        _break_off(operation, exchange, started, perf_counter(), error, error)
        del operation, exchange, token  # The exception may live long, and refers to this frame.
        raise
    detach(token)
    _end_request(operation, exchange, started, perf_counter(), response, None)
    return response


@guarded
def _end_request(
    operation: Operation,
    exchange: Exchange | None,
    started: float,
    ended: float,
    answer: Any,
    error: BaseException | None,
) -> None:
    kind = None
    if error is None:
        # What follows, from the JSON to the last field, is the processing of the body.
        operation.enter(semconv.PIPELINE_PROCESS, ended)
    else:
        kind = naming.failure_type(error)
    if exchange is not None:
        if operation.recorded:
            note_answer(exchange, answer)
        exchange.end(ended, kind)
    operation.record_stage_duration(semconv.HTTP_TRANSPORT, max(ended - started, 0.0))


_break_off = unlocked(_end_request)


def _stream_request(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        operation = current_operation()
        if operation is None or operation.stream is None:
            return QuietEntry(wrapped(*args, **kwargs)) if exposed(instance) else wrapped(*args, **kwargs)
        return StreamExchange(wrapped(*args, **kwargs), operation, operation.stream, (instance, args, kwargs))

    return run


# --- pipeline.process and event.map ---


def _parse(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Target, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        operation = current_operation()
        if operation is None or not operation.heard:
            return wrapped(*args, **kwargs)
        try:
            response = wrapped(*args, **kwargs)
        except BaseException as error:
            _leave(operation, error)
            del operation  # As above.
            raise
        _completed(operation)
        return response

    return run


def _process(telemetry: Telemetry) -> Wrapper:
    def run(wrapped: Any, instance: Any, args: Arguments, kwargs: Keywords) -> Any:
        operation = current_operation()
        state = None if operation is None or not operation.heard else operation.stream
        timed = None if operation is None or state is None else _timed(instance, operation, state, args, kwargs)
        if timed is None:
            return wrapped(*args, **kwargs)
        pipeline, body = timed
        return _unbound(wrapped).__get__(pipeline, type(pipeline))(body)

    return run


def _unbound(wrapped: Any) -> Any:
    # What is bound to the pipeline, to bind it to the view: another library's wrapper, if one is there, or the method.
    # Called by the name of its class, the method comes as another kind of callable.
    for name in ("_self_parent", "__func__", "__wrapped__"):
        function = getattr(wrapped, name, None)
        if function is not None:
            return function
    raise TypeError(f"{wrapped!r} is bound in a way that is not known")


@guarded
def _timed(
    pipeline: Any, operation: Operation, state: StreamState, args: Arguments, kwargs: Keywords
) -> tuple[Any, Any] | None:
    if state.processing_began is not None:
        return None
    (body,) = (*args, *kwargs.values())
    view = PipelineView(traced(pipeline, operation, content=operation.telemetry.content.captured), state)
    body = timed_body(body, state)
    state.processing_began = perf_counter()
    return view, body


ROWS = (
    *protocol.ROWS,
    Row("ai_lib_python.client.builder", "ChatRequestBuilder.build_payload", _compile),
    Row("ai_lib_python.transport.http", "HttpTransport.request", _request),
    Row("ai_lib_python.transport.http", "HttpTransport.stream_request", _stream_request),
    Row("ai_lib_python.client.core", "AiClient._parse_response", _parse),
    Row("ai_lib_python.pipeline.base", "Pipeline.process", _process),
)
