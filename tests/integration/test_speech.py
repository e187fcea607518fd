"""Speech to text and text to speech over a socket: every span and point exactly."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ai_lib_python.stt.client import SttOptions
from opentelemetry.trace import SpanKind, StatusCode

from differential import encoded
from other_clients import (
    AUDIO,
    CALLS,
    SHARED,
    SPOKEN,
    Call,
    described,
    exchange,
    healthy,
    identity,
    measured,
    opened,
    speaker,
    stage,
    stages,
    transcriber,
)
from provider import Step, body, provider
from recorder import Recorder

BOTH = [CALLS["transcribe"], CALLS["synthesize"]]
SPEECH = pytest.mark.parametrize("call", BOTH, ids=["speech to text", "text to speech"])
SAID: dict[str, dict[str, Any]] = {
    "speech_to_text": {"gen_ai.output.type": "text", "gen_ai.request.temperature": 0.25},
    "text_to_speech": {"gen_ai.output.type": "speech"},
}
COMPILED, PARSED = stage("request.compile"), stage("pipeline.process")


def labels(call: Call, provider_id: str = "explicit") -> dict[str, Any]:
    return {"provider": provider_id, "model": call.model, "operation": call.operation}


def expected(call: Call, base_url: str, provider_id: str = "explicit", **more: Any) -> dict[str, Any]:
    return described(call.operation, provider_id, call.model, base_url, **SAID[call.operation], **more)


def seen(*spans: tuple[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the stages of a call, of which there are none where its request cannot be seen."""
    return list(spans) if SHARED else []


@SPEECH
async def test_a_call_to_the_mock_is_an_operation_span_with_its_stages(
    instrumented: Recorder, mock: str, call: Call
) -> None:
    async with opened(await call.open(mock)) as client:
        result = await call.make(client)

    assert getattr(result, "text", "mock transcription").startswith("mock transcription")
    assert getattr(result, "data", b"\xff\xfb").startswith(b"\xff\xfb")
    span = instrumented.span(call.span)
    assert span.parent is None
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()
    assert dict(span.attributes or {}) == expected(call, mock)
    sent = exchange(mock, call.path, **{"http.response.status_code": 200})
    assert stages(instrumented, span) == seen(COMPILED, sent, PARSED)
    assert len(instrumented.spans()) == 1 + len(instrumented.children(span))


@SPEECH
async def test_a_call_is_measured_once_in_every_instrument(instrumented: Recorder, call: Call) -> None:
    async with provider(call.answer) as server, opened(await call.open(server.base_url)) as client:
        await call.make(client)

    known = labels(call)
    model = {"provider": "explicit", "model": call.model}
    lasted = [({**known, "stage": name}, 1) for name in ("request.compile", "http.transport", "pipeline.process")]
    gen_ai = identity(call.operation, "explicit", call.model, server.base_url)
    assert measured(instrumented) == {
        "ai_lib.attempts": [({**model, "kind": "initial", "type": "ok"}, 1)],
        "ai_lib.provider.health": healthy("explicit"),
        "ai_lib.request.duration": [(known, 1)],
        "ai_lib.requests": [(known, 1)],
        "ai_lib.requests.in_flight": [(known, 0)],
        **({"ai_lib.stage.duration": lasted} if SHARED else {}),
        "gen_ai.client.operation.duration": [(gen_ai, 1)],
    }


@SPEECH
async def test_a_manifest_names_the_provider(instrumented: Recorder, call: Call) -> None:
    named = f"retrieval/{call.model}"
    async with provider(call.answer) as server, opened(await call.open(server.base_url, model=named)) as client:
        await call.make(client)

    # Before 1.2.0 no client for speech has a manifest.
    provider_id = "retrieval" if SHARED else "explicit"
    span = instrumented.span(call.span)
    assert dict(span.attributes or {}) == expected(call, server.base_url, provider_id)
    assert instrumented.points("ai_lib.requests") == [(labels(call, provider_id), 1)]


REFUSALS: dict[str, tuple[list[Step], str, str, int | None]] = {
    "refused": (body({"error": {"message": "No."}}, 500), "server_error", "httpx.HTTPStatusError", 500),
    "hung up": ([], "ai_lib_python.errors.base.TransportError", "httpx.RemoteProtocolError", None),
    "late": ([60.0], "timeout", "timeout", None),
}


@SPEECH
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_failure_has_its_type_and_its_stage(instrumented: Recorder, call: Call, name: str) -> None:
    script, kind, kind_before, status = REFUSALS[name]
    # Before 1.2.0 the runtime lets the exceptions of httpx through.
    kind = kind if SHARED else kind_before
    async with provider(script) as server, opened(await call.open(server.base_url, timeout=1.0)) as client:
        error: Any = (await asyncio.gather(call.make(client), return_exceptions=True))[0]

    assert isinstance(error, Exception)
    span = instrumented.span(call.span)
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {}) == expected(call, server.base_url, **{"error.type": kind})
    answered = {} if status is None else {"http.response.status_code": status}
    assert stages(instrumented, span) == seen(
        COMPILED, exchange(server.base_url, call.path, **answered, **{"error.type": kind})
    )
    counted = {**labels(call), "type": kind, "stage": "http.transport"}
    assert instrumented.points("ai_lib.errors") == [(counted, 1)]
    assert instrumented.points("ai_lib.attempts") == [
        ({"provider": "explicit", "model": call.model, "kind": "initial", "type": kind}, 1)
    ]


async def test_a_transcription_that_is_no_json_counts_for_its_processing(instrumented: Recorder) -> None:
    async with provider(body(b"<html>")) as server, opened(await transcriber(server.base_url)) as client:
        with pytest.raises(ValueError, match="Expecting value"):
            await client.transcribe(b"RIFF")

    kind = "json.decoder.JSONDecodeError"
    ((counted, _),) = instrumented.points("ai_lib.errors")
    assert (counted["type"], counted["stage"]) == (kind, "pipeline.process" if SHARED else "http.transport")
    assert [attributes.get("error.type") for _, attributes in stages(instrumented, instrumented.span(SPAN))] == (
        [None, None, kind] if SHARED else []
    )


SPAN = "speech_to_text whisper-1"


@pytest.mark.parametrize("temperature", [None, "0.5", True, 2**70, float("nan")], ids=str)
async def test_a_temperature_that_is_no_number_is_not_recorded(instrumented: Recorder, temperature: Any) -> None:
    async with provider(SPOKEN) as server, opened(await transcriber(server.base_url)) as client:
        await client.transcribe(b"RIFF", SttOptions(temperature=temperature))

    span = instrumented.span(SPAN)
    assert dict(span.attributes or {}) == described(
        "speech_to_text", "explicit", "whisper-1", server.base_url, **{"gen_ai.output.type": "text"}
    )
    assert encoded(instrumented)


async def test_calls_without_options_are_recorded_like_others(instrumented: Recorder) -> None:
    async with provider(SPOKEN) as server, opened(await transcriber(server.base_url)) as client:
        await client.transcribe(b"RIFF")
    async with provider(AUDIO) as other, opened(await speaker(other.base_url)) as client:
        await client.synthesize("Hello")

    assert [dict(span.attributes or {}) for span in instrumented.spans() if span.parent is None] == [
        described("speech_to_text", "explicit", "whisper-1", server.base_url, **{"gen_ai.output.type": "text"}),
        described("text_to_speech", "explicit", "tts-1", other.base_url, **{"gen_ai.output.type": "speech"}),
    ]
