"""What providers, manifests and telemetry back ends should not do: nobody notices us, and we tell what is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.trace import StatusCode

from differential import MODEL, Both, Run, assert_books_balance, compare, encoded
from provider import completion, delta
from recorder import Recorder

LABELS = {"provider": "openai", "model": "gpt-4o", "operation": "chat"}
OPERATION = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "server.address": "provider.example",
    "server.port": 80,
    "ai_lib.provider.id": "openai",
    "ai_lib.attempts": 1,
}
HUGE = "x" * 5_000_000
DEEP = b"[" * 100_000
PROTOCOL_ERROR = "ai_lib_python.errors.base.ProtocolError"
JSON_ERROR = "json.decoder.JSONDecodeError"
INVALID = "pydantic_core._pydantic_core.ValidationError"


async def execute(run: Run, request: Any) -> Any:
    return await request.execute()


async def stream(run: Run, request: Any) -> Any:
    seen = run.keep([])
    async for event in request.stream():
        seen.append(event)


def ask(recorder: Recorder, content: Any, call: Any = execute, *, model: str = MODEL, status: int = 200) -> Both:
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    return compare(recorder, lambda run: httpx.Response(status, content=content), call, model)


def failures(recorder: Recorder) -> list[tuple[Any, Any]]:
    return [(labels["type"], labels["stage"]) for labels, _ in recorder.points("ai_lib.errors")]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(b"<html>Bad gateway</html>", JSON_ERROR, id="HTML"),
        pytest.param(b"", JSON_ERROR, id="empty"),
        pytest.param(b"[]", "AttributeError", id="list"),
        pytest.param(b"null", "AttributeError", id="null"),
        pytest.param(b'"text"', "AttributeError", id="string"),
        pytest.param(b'{"id": "\xff"}', "UnicodeDecodeError", id="broken UTF-8"),
        pytest.param(DEEP, "RecursionError", id="deeply nested"),
        pytest.param(HUGE.encode(), JSON_ERROR, id="huge"),
        pytest.param(
            b'{"choices": [{"message": {"tool_calls": [{"function": null}]}}]}', "AttributeError", id="no function"
        ),
    ],
)
def test_a_body_that_cannot_be_parsed(recorder: Recorder, content: bytes, kind: str) -> None:
    ask(recorder, content)
    assert assert_books_balance(recorder) == {**OPERATION, "error.type": kind}
    assert recorder.points("ai_lib.errors") == [({**LABELS, "type": kind, "stage": "pipeline.process"}, 1)]
    assert recorder.span("ai_lib.http.transport").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("content", "known"),
    [
        pytest.param({"error": {"message": "overloaded"}}, {}, id="error with status 200"),
        pytest.param({"choices": {}}, {}, id="choices are an object"),
        pytest.param({"choices": "many"}, {}, id="choices are a string"),
        pytest.param({"choices": [None]}, {}, id="a choice is null"),
        pytest.param({"choices": [{"message": "text", "finish_reason": {"why": 1}}]}, {}, id="message is a string"),
        pytest.param({"choices": [{"message": {"content": ["part"]}, "finish_reason": 7}]}, {}, id="content is a list"),
        pytest.param({"id": 7, "model": ["m"], "usage": []}, {}, id="identity is of other types"),
        pytest.param({"id": HUGE}, {"gen_ai.response.id": "x" * 256}, id="huge"),
        pytest.param({"id": "i\ud800d"}, {"gen_ai.response.id": "i?d"}, id="lone surrogate in the id"),
        pytest.param({"model": "m\udfff"}, {"gen_ai.response.model": "m?"}, id="lone surrogate in the model"),
        pytest.param(
            {"choices": [{"finish_reason": "\ud83d"}]},
            {"gen_ai.response.finish_reasons": ("?",)},
            id="lone surrogate in the finish reason",
        ),
    ],
)
def test_a_body_of_another_shape(recorder: Recorder, content: Any, known: dict[str, Any]) -> None:
    ask(recorder, content)
    assert assert_books_balance(recorder) == {**OPERATION, **known}
    assert failures(recorder) == []


@pytest.mark.parametrize("count", [None, -1, "12", 12.5, True, float("nan"), float("inf"), 2**70, [12], {}])
def test_a_usage_that_is_no_count_is_not_counted(recorder: Recorder, count: Any) -> None:
    ask(recorder, completion(usage={"prompt_tokens": count, "completion_tokens": 12.0}))
    attributes = assert_books_balance(recorder)
    assert "gen_ai.usage.input_tokens" not in attributes
    assert attributes["gen_ai.usage.output_tokens"] == 12
    assert recorder.points("ai_lib.tokens") == [({**LABELS, "type": "output"}, 12)]


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 2**63 - 1, "completion_tokens": 2**63 - 1},
        {"input_tokens": 2**63 - 1, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 7},
        {"promptTokenCount": 7, "candidatesTokenCount": 2**63 - 1, "thoughtsTokenCount": 7},
    ],
)
def test_absurd_usage_cannot_stop_the_export(recorder: Recorder, usage: Any) -> None:
    for _ in range(2):
        ask(recorder, completion(usage=usage))
    assert encoded(recorder)


def test_a_model_with_a_lone_surrogate_is_exportable(recorder: Recorder) -> None:
    ask(recorder, b"", model="openai/gpt-\ud800")
    assert assert_books_balance(recorder)["error.type"] == "UnicodeEncodeError"


def test_a_lone_surrogate_in_an_error_is_exportable(recorder: Recorder) -> None:
    ask(recorder, {"error": {"message": "No \ud800."}}, status=400)
    assert assert_books_balance(recorder) == {**OPERATION, "error.type": "invalid_request"}
    assert recorder.span("chat gpt-4o").status.description == "No ?. [remote]"


# --- streams ---


def sse(*frames: Any) -> bytes:
    payloads = (frame if isinstance(frame, bytes) else json.dumps(frame).encode() for frame in frames)
    return b"".join(b"data: %s\n\n" % payload for payload in payloads)


TOOL = {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "add", "arguments": "{"}}]}}]}
CRLF = sse(delta("Hel"), delta("lo"), b"[DONE]").replace(b"\n", b"\r\n")
STOP = delta(finish="stop")
# What arrives; what is known of it: events, frames, outcome; and how it fails: type and stage.
STREAMS: dict[str, tuple[bytes, tuple[int, int, str], tuple[str, str] | None]] = {
    "HTML": (b"<html>", (0, 0, "empty"), None),
    "nothing": (b"", (0, 0, "truncated"), None),
    "broken JSON": (sse(delta("Hel"), b"{", delta("lo"), b"[DONE]"), (2, 2, "completed"), None),
    "half a frame": (sse(delta("Hel")) + b'data: {"choices"', (1, 1, "truncated"), None),
    "broken UTF-8": (sse(delta("Hel"), b'{"id": "\xff"}', STOP), (2, 3, "completed"), None),
    "broken UTF-8 elsewhere": (b"\xff\xfe\n\n" + sse(delta("Hel"), STOP), (2, 2, "completed"), None),
    "CRLF": (CRLF, (2, 2, "completed"), None),
    "lists": (sse([], [1], ["error"]), (0, 3, "error"), ("TypeError", "event.map")),
    "null": (sse(delta("Hel"), None), (1, 2, "error"), ("TypeError", "event.map")),
    "number": (sse(7), (0, 1, "error"), ("TypeError", "event.map")),
    "choices are no list": (sse({"choices": {"delta": 1}}, {"choices": "x"}), (0, 2, "empty"), None),
    "unknown event types": (sse({"type": "novelty"}, {"type": ["list"]}), (0, 2, "empty"), None),
    "usage of another shape": (sse({"usage": [1]}), (0, 1, "error"), (INVALID, "event.map")),
    "usage is empty": (sse({"usage": {}}, STOP), (1, 2, "completed"), None),
    "error frame": (sse(delta("Hel"), {"error": None}, STOP), (3, 3, "error"), ("stream_error", "event.map")),
    "tool call without an id": (sse(delta("Hel"), TOOL), (1, 2, "error"), (INVALID, "event.map")),
    "lone surrogate in the text": (sse(delta("\ud800"), STOP), (2, 2, "completed"), None),
    "deeply nested": (sse(delta("Hel"), DEEP), (1, 1, "error"), ("RecursionError", "pipeline.process")),
    "huge": (sse(delta(HUGE), STOP), (2, 2, "completed"), None),
}


@pytest.mark.parametrize(("content", "known", "failure"), STREAMS.values(), ids=STREAMS)
def test_a_stream(
    recorder: Recorder, content: bytes, known: tuple[int, int, str], failure: tuple[str, str] | None
) -> None:
    ask(recorder, content, stream)
    attributes = assert_books_balance(recorder)
    counts = ("ai_lib.stream.events", "ai_lib.stream.frames", "ai_lib.stream.outcome", "ai_lib.stream.bytes")
    assert tuple(attributes[name] for name in counts) == (*known, len(content))
    assert attributes.get("error.type") == (failure[0] if failure else None)
    assert failures(recorder) == ([failure] if failure else [])
    assert recorder.counts("ai_lib.streams", "outcome") == {known[2]: 1}


def test_identity_with_lone_surrogates_in_a_stream_is_exportable(recorder: Recorder) -> None:
    ask(recorder, sse({"id": "\ud800", "model": "m\udfff"}, STOP), stream)
    attributes = assert_books_balance(recorder)
    assert (attributes["gen_ai.response.id"], attributes["gen_ai.response.model"]) == ("?", "m?")


# --- manifests and models ---


def manifest(folder: Path, name: str, content: Any) -> None:
    path = folder / "v1" / "providers" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize("call", [execute, stream])
@pytest.mark.parametrize("more", [{}, {"streaming": {}}, {"streaming": {"decoder": {}}, "response_paths": {}}])
@pytest.mark.parametrize(("model", "labels"), [("tiny/m", ("tiny", "m")), ("tiny", ("tiny", "tiny"))])
def test_a_manifest_with_next_to_nothing(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any, more: Any, model: str, labels: Any
) -> None:
    monkeypatch.setenv("AI_PROTOCOL_DIR", str(tmp_path))
    manifest(tmp_path, "tiny", {"id": "tiny", "endpoint": {"base_url": "http://tiny.example"}, **more})
    ask(recorder, completion() if call is execute else sse(delta("Hel"), STOP), call, model=model)
    attributes = assert_books_balance(recorder)
    assert (attributes["gen_ai.provider.name"], attributes["gen_ai.request.model"]) == labels
    assert [(point["provider"], point["model"]) for point, _ in recorder.points("ai_lib.requests")] == [labels]
    assert failures(recorder) == []


async def no_network(self: Any, url: str, **options: Any) -> Any:
    raise httpx.ConnectError("no network")


BROKEN = {"half": '{"id": ', "list": "[]", "headless": {"id": "headless"}}


@pytest.mark.parametrize(("name", "source"), [*((name, "local") for name in BROKEN), ("missing", "remote")])
@pytest.mark.parametrize("model", ["{}/m", "{}"])
def test_a_manifest_that_does_not_load(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, model: str
) -> None:
    monkeypatch.setenv("AI_PROTOCOL_DIR", str(tmp_path))
    monkeypatch.setattr(httpx.AsyncClient, "get", no_network)
    if name in BROKEN:
        manifest(tmp_path, name, BROKEN[name])
    ask(recorder, completion(), model=model.format(name))
    (span,) = recorder.spans()
    assert dict(span.attributes or {}) == {
        "ai_lib.stage": "protocol.load",
        "ai_lib.protocol.source": source,
        "error.type": PROTOCOL_ERROR,
    }
    assert recorder.metric_names() == ["ai_lib.stage.duration"]


def test_a_fallbacks_manifest_that_does_not_load_fails_the_call_in_that_stage(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fall_back(run: Run, request: Any) -> Any:
        request._client._fallbacks = ["missing/m"]
        return await request.execute()

    monkeypatch.setattr(httpx.AsyncClient, "get", no_network)
    ask(recorder, {}, fall_back, status=500)
    assert assert_books_balance(recorder) == {
        **OPERATION,
        "ai_lib.fallback.count": 1,
        "ai_lib.fallback.model": "m",
        "error.type": PROTOCOL_ERROR,
    }
    assert failures(recorder) == [(PROTOCOL_ERROR, "protocol.load")]
