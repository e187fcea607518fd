"""No byte that is exported holds a credential of any kind, however a call ends, with everything switched on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

from leaks import Exported, holds
from other_clients import AUDIO, RANKED, SPOKEN, vectors
from planted import CALLS, PROMPT, Kind, callers, exporting, outcome, plant
from provider import Step, body, completion, delta, events, provider
from recorder import Recorder

SECRET = "pl/Zq7+mK2vW9=xR4tY&8uJ3nB~6hG5_fD1.sA0c"

KINDS = {
    "bearer token": Kind({"type": "bearer"}),
    "header of its own": Kind({"type": "custom_header", "header_name": "x-goog-api-key"}),
    "header by default": Kind({"type": "api_key"}),
    "other scheme": Kind({"type": "bearer", "prefix": "Token"}),
    "no scheme": Kind({"type": "bearer", "prefix": "", "header_name": "x-token"}),
    "basic": Kind({"type": "basic", "prefix": "Basic"}),
    "query parameter": Kind({"type": "query_param", "param_name": "key"}),
    "query parameter by default": Kind({"type": "query_param"}),
    "argument": Kind({"type": "bearer"}, "argument"),
    "argument for the query": Kind({"type": "query_param", "param_name": "key"}, "argument"),
    "environment by convention": Kind({"type": "bearer"}, "convention"),
    "keyring": Kind({"type": "bearer"}, "keyring"),
    "keyring for a header": Kind({"type": "header", "header_name": "x-key"}, "keyring"),
}

FINE: dict[str, Sequence[Step]] = {
    "chat": body(completion("It is here")),
    "stream": events(delta("It is "), delta("here"), delta(finish="stop")),
    "embeddings": vectors(),
    "rerank": RANKED,
    "speech_to_text": SPOKEN,
    "text_to_speech": AUDIO,
}


def answered(content: str, tool: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an answer that calls a tool."""
    message = {"role": "assistant", "content": content, "tool_calls": [tool]}
    return completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])


def answers(secret: str) -> dict[str, dict[str, Sequence[Step]]]:
    """Return what the provider answers to each call."""
    said = f"Incorrect API key provided: {secret}. Find your keys at https://x.example/?key={quote(secret, safe='')}"
    tool = {"id": "call-1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"key": secret})}}
    same: dict[str, Sequence[Step]] = {
        "401": body({"error": {"message": said, "code": secret}}, 401),
        "401 without an object": body({"error": said, "message": said}, 401),
        "401, quoted late": body({"error": {"message": f"{'No. ' * 125}{secret}"}}, 401),
        "429": body({"error": {"message": said, "type": secret}}, 429, {"retry-after": quote(secret)}),
        "500": body({"error": {"message": f"{{'authorization': {secret!r}}}"}}, 500),
        "502 of a proxy": body(f"<html>{said}</html>".encode(), 502),
        "moved": body(b"", 302, {"location": f"http://x.example/?key={quote(secret)}"}),
        "hung up": [],
        "cut off": [f"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{secret}".encode()],
        "no JSON": body(f'{{"error": "{secret}'.encode()),
        "JSON of another shape": body(
            {
                "choices": secret,
                "usage": secret,
                "data": [secret],
                "results": [{"relevance_score": secret}],
                "segments": secret,
            }
        ),
        "text": body(secret),
    }
    quoted: dict[str, Sequence[Step]] = {
        "chat": body(answered(f"You sent {secret}", tool)),
        "stream": events(
            delta("You sent "),
            delta(secret),
            {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **tool}]}}]},
            {"error": {"message": said, "code": secret}},
            b"data: []\n\n",
        ),
        "embeddings": body({"data": [{"embedding": secret, "index": secret}], "usage": {"prompt_tokens": secret}}),
        "rerank": body({"results": [{"document": secret, "index": secret}]}),
        "speech_to_text": body({"text": secret, "language": secret, "segments": [{"text": secret}]}),
        "text_to_speech": body(secret.encode()),
    }
    return {"fine": FINE, "quoted": quoted, **{name: dict.fromkeys(CALLS, script) for name, script in same.items()}}


# What answers is no server for HTTP. (The line is in the message of an exception, which the instrumentation of httpx
# records: but for a credential in the query, the line does not have it.)
LINE: Sequence[Step] = (f"POST /v1/x?key={quote(SECRET, safe='')} HTTP/1.1\r\n\r\n".encode(),)
ECHO = {"an echo": {name: LINE if call.resolves else FINE[name] for name, call in CALLS.items()}}


@pytest.fixture
def recorder() -> Recorder:
    """Providers of a test's own, whose metrics tell each measurement once and not again with every search."""
    recorder = Recorder()
    deltas: dict[type, AggregationTemporality] = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
    recorder.reader = InMemoryMetricReader(preferred_temporality=deltas)
    recorder.meter_provider = MeterProvider([recorder.reader])
    return recorder


exported = pytest.fixture(exporting)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_a_credential_is_exported_nowhere(
    exported: Exported, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = plant(kind, SECRET, tmp_path, monkeypatch)
    leaks: dict[str, list[str]] = {}
    scripts = answers(SECRET) | (ECHO if kind.auth["type"] == "query_param" else {})
    async with provider([]) as server, callers(server.base_url, key, SECRET) as calls:
        for name, by_call in scripts.items():
            for operation, call in calls.items():
                server.scripts = [by_call[operation]]
                result = await outcome(call)
                assert isinstance(result, Exception) or not (name[0].isdigit() or name == "hung up")
            leaks[name] = exported.leaks(SECRET)
            exported.clear()

    assert {name: found for name, found in leaks.items() if found} == {}
    assert len(server.requests) == len(scripts) * len(CALLS)
    assert all(holds(request, SECRET) for request in server.requests)


async def test_what_is_searched_has_spans_metrics_messages_and_frames(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt is exported in both signals that content goes to, frames with theirs, and the spans of httpx."""
    key = plant(KINDS["bearer token"], SECRET, tmp_path, monkeypatch)
    async with provider([]) as server, callers(server.base_url, key, SECRET) as calls:
        for operation, call in calls.items():
            server.scripts = [FINE[operation]]
            await outcome(call)

    everything = list(exported.everything())
    assert {what.split(" ")[0] for what, content in everything if PROMPT.encode() in content} == {"span", "log", "OTLP"}
    assert any(what.startswith("log record") and b"ai_lib.frame.content" in content for what, content in everything)
    names = exported.recorder.names()
    assert {
        name: names.count(f"{name} m") for name in ("embeddings", "rerank", "speech_to_text", "text_to_speech")
    } == {
        "embeddings": 1,
        "rerank": 1,
        "speech_to_text": 1,
        "text_to_speech": 1,
    }
    assert (names.count("chat m"), names.count("POST")) == (2, 6)
    assert any(what == "metrics" and b'"ai_lib.requests"' in content for what, content in everything)


# --- other credentials ---

ODD = {
    "quotes and backslashes": "pl'Zq7\"mK2vW9\\xR4tY8u'J3nB\"6hG5\\fD1sA0c",
    "a space": "plZq7mK2vW9 xR4tY8uJ3nB 6hG5fD1sA0c",
    "a line break": "plZq7mK2vW9xR4tY8uJ3nB\n6hG5fD1sA0cQw8eZ",
    "no ASCII": 'plZq7mK2vW9éxR4tY8uJ3nB"6hG5fD1sA0cQw8eZ',
}


@pytest.mark.parametrize("secret", ODD.values(), ids=ODD)
@pytest.mark.parametrize("kind", [KINDS["bearer token"], KINDS["query parameter"]], ids=["header", "query"])
async def test_a_credential_of_odd_characters_is_exported_nowhere(
    exported: Exported, kind: Kind, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that no header can carry fail with their own text in the message."""
    key = plant(kind, secret, tmp_path, monkeypatch)
    leaks: dict[str, list[str]] = {}
    async with provider([]) as server, callers(server.base_url, key, secret) as calls:
        for name, by_call in answers(secret).items():
            for operation, call in calls.items():
                server.scripts = [by_call[operation]]
                await outcome(call)
            leaks[name] = exported.leaks(secret)
            exported.clear()

    assert {name: found for name, found in leaks.items() if found} == {}


@pytest.mark.parametrize("kind", [KINDS["bearer token"], KINDS["query parameter"]], ids=["header", "query"])
async def test_a_credential_of_a_call_without_an_answer_is_exported_nowhere(
    exported: Exported, kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens, or nobody answers in time, or until the call is cancelled."""
    key = plant(kind, SECRET, tmp_path, monkeypatch)
    async with provider([60.0]) as server:
        async with callers(server.base_url, key, SECRET, timeout=0.5) as calls:
            results = [await outcome(call) for call in calls.values()]
        async with callers(server.base_url, key, SECRET) as calls:
            tasks = [asyncio.ensure_future(call()) for call in calls.values()]  # type: ignore[arg-type]
            while len(server.requests) < 2 * len(CALLS):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            results += await asyncio.gather(*tasks, return_exceptions=True)
    async with callers(server.base_url, key, SECRET) as calls:
        results += [await outcome(call) for call in calls.values()]
    assert all(isinstance(result, BaseException) for result in results)

    assert all(holds(request, SECRET) for request in server.requests)
    assert exported.leaks(SECRET) == []
