"""The load of the stack, run as its container runs it, but to a receiver of ours."""

from __future__ import annotations

import sys

from programs import EXAMPLES, INSTRUMENT, run

from receiver import receiver

LOAD = str(EXAMPLES / "stack" / "application" / "load.py")


def test_the_load_ends_by_itself_and_everything_it_does_is_told() -> None:
    with receiver() as otlp:
        variables = {
            "LOAD_SECONDS": "3",
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_PYTHON_EXCLUDED_URLS": "/health",
            "OTEL_SERVICE_NAME": "load",
        }
        done = run(INSTRUMENT, sys.executable, LOAD, **variables)
    assert (done.returncode, done.stdout) == (0, "")
    calls = [span for span in otlp.spans if span.name.startswith("chat ")]
    assert calls
    assert {span.resource["service.name"] for span in otlp.spans} == {"load"}
    assert {span.name for span in otlp.spans if not span.parent_id} <= {
        "ai_lib.protocol.load",
        *(span.name for span in calls),
    }
    assert sum(value for _, value in otlp.last("ai_lib.requests")) == len(calls)
