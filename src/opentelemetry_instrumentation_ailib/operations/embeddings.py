"""Embeddings: one operation per call of the user's, with an exchange for each batch of texts that it sends."""

from __future__ import annotations

from typing import Any

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import naming, semconv
from opentelemetry_instrumentation_ailib.coroutines import Call, around
from opentelemetry_instrumentation_ailib.fields import Answer
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.operation import Operation, current_operation
from opentelemetry_instrumentation_ailib.operations import base
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import Telemetry
from opentelemetry_instrumentation_ailib.usage import usage
from opentelemetry_instrumentation_ailib.values import integer

_MODULE = "ai_lib_python.embeddings.client"


def _begin(*parameters: str) -> base.Begin:
    def begin(telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation:
        request = base.named(parameters, args, kwargs)
        # The one format that the runtime asks for.
        attributes: dict[str, AttributeValue] = {semconv.REQUEST_ENCODING_FORMATS: ("float",)}
        dimensions = integer(request.get("dimensions"))
        if dimensions is not None:
            attributes[semconv.EMBEDDINGS_DIMENSION_COUNT] = dimensions
        operation = base.begin_operation(
            telemetry, client, semconv.EMBEDDINGS, model=client._model_id, request=request, attributes=attributes
        )
        operation.text_only = True
        return operation

    return begin


def _finish(operation: Operation, response: Any) -> None:
    # What a provider leaves out the runtime fills with 0. A subclass may answer with anything.
    report = {"prompt_tokens": getattr(getattr(response, "usage", None), "prompt_tokens", None) or None}
    model = naming.text(getattr(response, "model", None))
    operation.end(answer=Answer(model=model, usage=usage(report)), response=response)


def _execute(telemetry: Telemetry) -> Wrapper:
    async def run(call: Call, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operation = current_operation()
        if operation is None or operation.name != semconv.EMBEDDINGS:
            return await call.take()
        _enter(operation)
        response = await call.take()
        _leave(operation)
        return response

    return around(run)


@guarded
def _enter(operation: Operation) -> None:
    if operation.stage == semconv.REQUEST_COMPILE:
        return  # The call's first.
    # A subclass may ask again after a body that could not be parsed.
    operation.attempts.failed |= operation.leave(semconv.OTHER)
    operation.enter(semconv.REQUEST_COMPILE)


_leave = guarded(Operation.leave)

ROWS = (
    Row(_MODULE, "EmbeddingClient.embed", base.call(_begin("text", "dimensions"), _finish)),
    Row(_MODULE, "EmbeddingClient.embed_batch", base.call(_begin("texts", "dimensions", "batch_size"), _finish)),
    Row(_MODULE, "EmbeddingClient._execute", _execute),
)
