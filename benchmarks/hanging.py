"""An SDK whose exporter of spans hangs until the end: its queue is full, and what ends is dropped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from sdk import Sdk

_QUEUE: Final = 64


class _Hanging(SpanExporter):
    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.released.wait()
        return SpanExportResult.SUCCESS


@contextmanager
def silent() -> Iterator[None]:
    """Let the SDK log none of the spans that it drops: it would make a record of each, for a tenth of a call's time."""
    logger = logging.getLogger("opentelemetry.sdk")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def hanging() -> Iterator[Sdk]:
    """Provide the SDK for a while. It cannot be flushed meanwhile."""
    exporter = _Hanging()
    sdk = Sdk(spans=BatchSpanProcessor(exporter, max_queue_size=_QUEUE, max_export_batch_size=_QUEUE))
    try:
        tracer = sdk.tracer_provider.get_tracer("hanging")
        # The batch that the exporter has, and the queue behind it.
        for _ in range(2):
            for _ in range(_QUEUE):
                tracer.start_span("waits").end()
            exporter.asked.wait()
        yield sdk
    finally:
        exporter.released.set()
        sdk.shutdown()
