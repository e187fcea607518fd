"""Rerank: documents ordered by their relevance to a query."""

from __future__ import annotations

import contextlib
from collections.abc import Sized
from typing import Any

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.operations import base
from opentelemetry_instrumentation_ailib.patching import Row
from opentelemetry_instrumentation_ailib.telemetry import Telemetry


def _begin(telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation:
    request = base.named(("query", "documents", "options"), args, kwargs)
    documents = request.get("documents")
    attributes: dict[str, AttributeValue] = {}
    with contextlib.suppress(Exception):  # What has no length is for the runtime to refuse.
        attributes[semconv.DOCUMENT_COUNT] = len(documents)  # type: ignore[arg-type]
    return base.begin_operation(
        telemetry, client, semconv.RERANK, model=client._model, request=request, attributes=attributes
    )


def _finish(operation: Operation, results: Any) -> None:
    if isinstance(results, Sized):
        operation.attributes[semconv.RESULT_COUNT] = len(results)
    operation.end(response=results)


ROWS = (Row("ai_lib_python.rerank.client", "RerankerClient.rerank", base.call(_begin, _finish)),)
