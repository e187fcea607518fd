"""Text to speech: one text spoken."""

from __future__ import annotations

from typing import Any

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.operation import Operation
from opentelemetry_instrumentation_ailib.operations import base
from opentelemetry_instrumentation_ailib.patching import Row
from opentelemetry_instrumentation_ailib.telemetry import Telemetry


def _begin(telemetry: Telemetry, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Operation:
    return base.begin_operation(
        telemetry,
        client,
        semconv.TEXT_TO_SPEECH,
        model=client._model,
        request=base.named(("text", "options"), args, kwargs),
        attributes={semconv.OUTPUT_TYPE: "speech"},
    )


def _finish(operation: Operation, audio: Any) -> None:
    operation.end(response=audio)


ROWS = (Row("ai_lib_python.tts.client", "TtsClient.synthesize", base.call(_begin, _finish)),)
