"""An application that sets up OpenTelemetry itself and instruments ai-lib-python with one line."""

import asyncio
import os
import sys

from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

MODEL = os.environ.get("AI_MODEL", "openai/gpt-4o")
BASE_URL = os.environ.get("AI_BASE_URL")  # Without it, the base URL of the provider's manifest.
CREDENTIAL = f"{MODEL.partition('/')[0].upper().replace('-', '_')}_API_KEY"


def set_up_telemetry() -> None:
    """Send traces and metrics to the console. An application in earnest sends them by OTLP, or has them scraped."""
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(tracer_provider)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())]))

    AiLibInstrumentor().instrument()


async def main() -> None:
    """Make one call of each kind, inside a span of the application's own, and print what comes back."""
    with trace.get_tracer("example").start_as_current_span("ask"):
        async with await AiClient.create(MODEL, base_url=BASE_URL) as client:
            response = await client.chat().user("What is a trace? Answer in one sentence.").execute()
            print("chat:", response.content)

            print("stream: ", end="")
            async for event in client.chat().user("What is a span? Answer in one sentence.").stream():
                if event.is_content_delta:
                    print(event.as_content_delta.content, end="", flush=True)
            print()


if __name__ == "__main__":
    if not os.environ.get(CREDENTIAL):
        sys.exit(f"{CREDENTIAL} is not set. It holds the credential for {MODEL} (AI_MODEL chooses another model).")
    set_up_telemetry()
    try:
        asyncio.run(main())
    except AiLibError as error:
        sys.exit(f"{MODEL}: {error}")
