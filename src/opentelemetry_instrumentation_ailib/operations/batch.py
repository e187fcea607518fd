"""Batches: one span around the calls of a batch's items, which find it as their parent."""

from __future__ import annotations

import contextlib
import sys
from time import perf_counter
from typing import Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import naming, semconv
from opentelemetry_instrumentation_ailib.collected import unlocked
from opentelemetry_instrumentation_ailib.context import attach, detach
from opentelemetry_instrumentation_ailib.coroutines import Call, around
from opentelemetry_instrumentation_ailib.guard import guarded
from opentelemetry_instrumentation_ailib.patching import Row, Wrapper
from opentelemetry_instrumentation_ailib.telemetry import Moment, Telemetry, end_stage, now

_MODULE = "ai_lib_python.batch.executor"

_failure_type = guarded(naming.failure_type)


@unlocked
@guarded
def _end(span: Span, ended: int, error: str | None = None) -> None:
    end_stage(span, error=error, end_time=ended)


@guarded
def _begin(telemetry: Telemetry, executor: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Span, Moment]:
    attributes: dict[str, AttributeValue] = {}
    # What has no length is for the runtime to refuse.
    with contextlib.suppress(Exception):
        attributes[semconv.BATCH_SIZE] = len(args[0] if args else kwargs["items"])
    concurrency = executor.max_concurrent
    # More than an attribute can carry is a way to say: no limit.
    if isinstance(concurrency, int) and concurrency <= sys.maxsize:
        attributes[semconv.BATCH_CONCURRENCY] = concurrency
    began = now()
    return telemetry.tracer.start_span(semconv.BATCH, attributes=attributes, start_time=began.epoch), began


@guarded
def _finish(span: Span, result: Any) -> None:
    # Items that fail do not make the batch fail. Those that fail_fast calls off are no failures for the runtime either.
    span.set_attribute(semconv.BATCH_FAILED, result.failed_count)


def _build(telemetry: Telemetry) -> Wrapper:
    async def run(call: Call, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        begun = _begin(telemetry, instance, args, kwargs) if is_instrumentation_enabled() else None
        if begun is None:
            return await call.take()
        span, began = begun
        # The runtime runs each item in a task of its own, which takes the context along.
        token = attach(set_span_in_context(span))
        try:
            result = await call.take()
        except BaseException as error:
            detach(token, error)
            _end(span, began.at(perf_counter()), _failure_type(error))
            del token  # It refers to the caller's context, and the exception to this.
            raise
        detach(token)
        _finish(span, result)
        _end(span, began.at(perf_counter()))
        return result

    return around(run)


ROWS = (
    Row(_MODULE, "BatchExecutor.execute", _build),
    Row(_MODULE, "BatchExecutor.execute_with_progress", _build),
)
