"""Credentials that are in a URL: what it says of the user, of the user of a proxy, and in its path."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, unquote

import pytest
from test_secrets_elsewhere import HEADER, OTHER, SECRET, sent

from leaks import Exported
from opentelemetry_instrumentation_ailib.quiet import exposed
from planted import CALLS, callers, exporting, outcome, plant
from provider import Step, body, completion, provider
from recorder import Recorder
from resilient import chatting

PLAIN = "plZq7-mK2vW9.xR4tY8uJ3nB_6hG5"
exported = pytest.fixture(exporting)

REFUSALS: dict[str, Sequence[Step]] = {
    "401": body({"error": {"message": "Who?"}}, 401),
    "401 that quotes it": body({"error": {"message": f"Unknown password {SECRET}"}}, 401),
    "no HTTP": [b"\x00\r\n\r\n"],
    "hung up": [],
    "fine": body(completion()),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_password_in_the_base_url_is_exported_nowhere(
    exported: Exported, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The HTTP client makes an ``Authorization: Basic`` of it."""
    plant(HEADER, OTHER, tmp_path, monkeypatch)
    async with provider(REFUSALS[name]) as server:
        base_url = server.base_url.replace("//", f"//me:{quote(SECRET, safe='')}@")
        async with callers(base_url, None, OTHER) as calls:
            for call in calls.values():
                await outcome(call)

    assert sent(server, SECRET) == [True] * len(CALLS)
    assert exported.leaks(SECRET, OTHER) == []


@pytest.mark.parametrize("name", sorted(set(REFUSALS) - {"401 that quotes it"}))
async def test_a_password_of_a_proxy_is_exported_nowhere(
    exported: Exported, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(HEADER, OTHER, tmp_path, monkeypatch)
    async with provider(REFUSALS[name]) as server:
        monkeypatch.setenv("AI_HTTP_TRUST_ENV", "1")
        monkeypatch.setenv("AI_PROXY_URL", server.base_url[:-3].replace("//", f"//me:{quote(SECRET, safe='')}@"))
        async with chatting("http://127.0.0.1:9/v1", "planted/m") as ai:
            await outcome(ai.chat().user("Hello?").execute)

    assert sent(server, SECRET) == [True]
    assert exported.leaks(SECRET, OTHER) == []


# What the URL says of the user; the HTTP client takes brackets as they are.
USERS = {
    "a password": f"me:{quote(SECRET, safe='')}",
    "a user name": quote(SECRET, safe=""),
    "a password in brackets": f"me:[{PLAIN}]",
    "a bracket that opens": f"me:{PLAIN[:14]}[{PLAIN[14:]}",
    "a bracket that closes": f"me:{PLAIN}]",
}


@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
async def test_a_user_of_the_base_url_is_exported_nowhere_in_any_header_and_costs_no_telemetry(
    exported: Exported, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider quotes the header, in which it is in base 64."""
    plant(HEADER, OTHER, tmp_path, monkeypatch)
    name, _, password = unquote(user).partition(":")
    header = f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"
    refusal = body({"error": {"message": f"Not {password or name}, invalid authorization header: {header}"}}, 401)
    async with (
        provider(refusal) as server,
        callers(server.base_url.replace("//", f"//{user}@"), None, OTHER) as calls,
    ):
        results = [await outcome(call) for call in calls.values()]

    assert all(isinstance(result, Exception) for result in results)
    assert [header.encode() in request for request in server.requests] == [True] * len(CALLS)
    assert exported.leaks(password or name, OTHER) == []
    seen = sum(call.resolves for call in CALLS.values())
    spans = [span for span in exported.recorder.spans() if span.name == "ai_lib.http.transport"]
    assert [(span.attributes or {})["server.address"] for span in spans] == ["127.0.0.1"] * seen
    attempts = exported.recorder.counts("ai_lib.attempts", "type")
    assert (attempts["authentication"], sum(attempts.values())) == (seen, len(CALLS))


@pytest.mark.parametrize(
    ("key", "path"), [(PLAIN, "/v1/***REDACTED***/chat"), ("none", "/v1/none/chat")], ids=["a credential", "none"]
)
async def test_a_credential_in_the_path_of_the_base_url_is_not_in_the_path_of_a_span(
    instrumented: Recorder, key: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateways have such URLs. What is too short for a credential may be a part of any name."""
    plant(HEADER, key, tmp_path, monkeypatch)
    async with provider(body(completion())) as server, chatting(f"{server.base_url}/{key}", "planted/m") as ai:
        await ai.chat().user("Hello?").execute()
        async for _ in ai.chat().user("Hello?").stream():
            pass

    assert [request.split(b" ")[1] for request in server.requests] == [f"/v1/{key}/chat".encode()] * 2
    spans = [span for span in instrumented.spans() if span.name == "ai_lib.http.transport"]
    assert [(span.attributes or {})["url.path"] for span in spans] == [path] * 2


@pytest.mark.parametrize("key", [PLAIN, SECRET], ids=["as it is", "quoted"])
async def test_a_credential_in_the_path_of_the_base_url_is_exported_nowhere(
    exported: Exported, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An HTTP client's spans have the whole URL, and are not made."""
    plant(HEADER, key, tmp_path, monkeypatch)
    async with (
        provider(body(completion())) as server,
        chatting(f"{server.base_url}/{quote(key, safe='')}", "planted/m") as ai,
    ):
        await ai.chat().user("Hello?").execute()
        async for _ in ai.chat().user("Hello?").stream():
            pass
        await ai._transport.request("GET", "/models")  # Of no call.

    assert [quote(key, safe="").encode() in request for request in server.requests] == [True] * 3
    assert [span.name for span in exported.recorder.spans() if span.name in ("POST", "GET")] == []
    assert exported.leaks(key) == []


@pytest.mark.parametrize(
    ("key", "path"),
    [("plZq7%41K2vW9xR4tY8uJ3nB", "plZq7%41K2vW9xR4tY8uJ3nB"), ("plZq-7~mK2vW9xR4t", "plZq%2D7%7EmK2vW9xR4t")],
    ids=["with an escape of its own", "escaped in a way of its own"],
)
async def test_a_credential_is_known_in_the_path_however_that_is_escaped(
    exported: Exported, key: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(HEADER, key, tmp_path, monkeypatch)
    async with (
        provider(body(completion())) as server,
        chatting(f"{server.base_url}/{path}", "planted/m") as ai,
    ):
        await ai.chat().user("Hello?").execute()

    spans = exported.recorder.spans()
    assert [(span.attributes or {})["url.path"] for span in spans if span.name == "ai_lib.http.transport"] == [
        "/v1/***REDACTED***/chat"
    ]
    assert [span.name for span in spans if span.name == "POST"] == []
    assert exported.leaks(key, path) == []


@pytest.mark.parametrize("key", [PLAIN, SECRET], ids=["as it is", "quoted"])
async def test_a_credential_in_the_path_of_the_base_url_of_any_client_is_exported_nowhere(
    exported: Exported, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 1.2.0 most of the runtime's clients have an HTTP client of their own."""
    plant(HEADER, key, tmp_path, monkeypatch)
    async with (
        provider(body(completion())) as server,
        callers(f"{server.base_url}/{quote(key, safe='')}", None, key) as calls,
    ):
        for call in calls.values():
            await outcome(call)

    assert [quote(key, safe="").encode() in request for request in server.requests] == [True] * len(CALLS)
    assert exported.leaks(key) == []


@pytest.mark.parametrize("key", ["none", PLAIN, None], ids=["a word", "another key", "no key"])
def test_an_http_clients_spans_are_made_where_the_url_has_no_credential(key: str | None) -> None:
    base_url, credential = f"https://gateway.example/none/{PLAIN[:-1]}", SimpleNamespace(secret=key)
    transport = {"_auth_headers": {"x-api-key": f"{key}"}, "_auth_query_params": {}, "_base_url": base_url}
    assert not exposed(SimpleNamespace(**transport, _credential=credential))
    assert not exposed(SimpleNamespace(**transport))  # Of the user's own.
