"""The worker, run as its README says, with an OTLP receiver at the far end."""

from __future__ import annotations

import sys
from collections import Counter

from programs import EXAMPLES, run

from receiver import receiver

WORKER = str(EXAMPLES / "worker" / "app.py")
QUESTIONS = 10
THREADS = 2
CALL = "chat gpt-4o"
ERROR = 2


def test_a_batch_is_one_trace_across_tasks_and_threads(mock: str) -> None:
    with receiver() as otlp:
        done = run(sys.executable, WORKER, AI_BASE_URL=mock, OTEL_EXPORTER_OTLP_ENDPOINT=otlp.endpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{QUESTIONS} answers, 0 failures\n", "")
    (trace_id,) = {span.trace_id for span in otlp.spans}
    assert Counter(otlp.tree(trace_id)) == {
        ("answer a batch", None): 1,
        ("ai_lib.protocol.load", "answer a batch"): THREADS,
        ("answer a question", "answer a batch"): QUESTIONS,
        (CALL, "answer a question"): QUESTIONS,
        ("ai_lib.request.compile", CALL): QUESTIONS,
        ("ai_lib.http.transport", CALL): QUESTIONS,
        ("ai_lib.pipeline.process", CALL): QUESTIONS,
    }
    assert otlp.last("ai_lib.requests") == [({"provider": "openai", "model": "gpt-4o", "operation": "chat"}, QUESTIONS)]


def test_what_a_failed_batch_did_arrives_too(mock: str) -> None:
    with receiver() as otlp:
        variables = {"AI_MODEL": "throttled/large", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp.endpoint}
        done = run(sys.executable, WORKER, AI_BASE_URL=mock, **variables)
    assert (done.returncode, done.stdout) == (1, f"0 answers, {QUESTIONS} failures\n")
    assert done.stderr == "throttled/large: Rate limit exceeded. [remote]\n"
    assert Counter(span.name for span in otlp.spans if span.status == ERROR) == {
        "answer a question": QUESTIONS,
        "chat large": QUESTIONS,
        "ai_lib.http.transport": QUESTIONS,
    }
    labels = {"provider": "throttled", "model": "large", "operation": "chat"}
    errors = {**labels, "type": "rate_limited", "stage": "http.transport"}
    assert otlp.last("ai_lib.errors") == [(errors, QUESTIONS)]
