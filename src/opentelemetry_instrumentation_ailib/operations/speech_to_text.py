"""Speech to text: one recording transcribed."""

from __future__ import annotations

from typing import Any

from opentelemetry.util.types import AttributeValue

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.operations import base
from opentelemetry_instrumentation_ailib.patching import Row
from opentelemetry_instrumentation_ailib.telemetry import Telemetry
from opentelemetry_instrumentation_ailib.values import number


def _begin(telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation:
    request = base.named(("audio", "options"), args, kwargs)
    attributes: dict[str, AttributeValue] = {semconv.OUTPUT_TYPE: "text"}
    temperature = number(getattr(request.get("options"), "temperature", None))
    if temperature is not None:
        attributes[semconv.REQUEST_TEMPERATURE] = temperature
    return base.begin_operation(
        telemetry, client, semconv.SPEECH_TO_TEXT, model=client._model, request=request, attributes=attributes
    )


def _finish(operation: Operation, transcription: Any) -> None:
    operation.end(response=transcription)


ROWS = (Row("ai_lib_python.stt.client", "SttClient.transcribe", base.call(_begin, _finish)),)
