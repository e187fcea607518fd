"""A program that imports the runtime twice while it is instrumented, and prints what was recorded as JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from types import ModuleType
from typing import Any

import httpx

from opentelemetry_instrumentation_ailib import ROWS, AiLibInstrumentor
from provider import completion
from recorder import Recorder

CORE = "ai_lib_python.client.core"


def import_again(how: str) -> ModuleType:
    """Return another copy of the runtime's core: of that module alone, or of the whole package."""
    if how == "reload":
        return importlib.reload(sys.modules[CORE])
    for name in [name for name in sys.modules if name.split(".")[0] == "ai_lib_python"]:
        del sys.modules[name]
    return importlib.import_module(CORE)


async def ask(client: Any) -> str:
    """Ask a class of clients."""
    ai = await client.create("openai/gpt-4o", base_url="http://provider.example/v1")
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=completion()))
    ai._transport._client = httpx.AsyncClient(base_url=ai._transport._base_url, transport=transport)
    content = (await ai.chat().user("Hello?").execute()).content
    await ai.close()
    return str(content)


def methods(client: Any) -> dict[str, Any]:
    """Return what a class of clients holds under the names that get patched."""
    names = [row.target.split(".")[1] for row in ROWS if row.module == CORE]
    return {name: vars(client)[name] for name in names}


def tried(how: str) -> dict[str, Any]:
    """Import the runtime again, and return what was recorded of the calls of which copy."""
    found: dict[str, Any] = {}
    recorders, answers = (Recorder(), Recorder()), set()

    def record(what: str, client: Any) -> None:
        answers.add(asyncio.run(ask(client)))
        found[what] = [[name for name in each.names() if "protocol" not in name] for each in recorders]
        for each in recorders:
            each.clear()

    first = importlib.import_module(CORE).AiClient
    plain = methods(first)
    AiLibInstrumentor().instrument(**recorders[0].providers)
    record("before", first)
    second = import_again(how).AiClient
    plain_second = methods(second)
    record("first copy", first)
    record("second copy", second)
    AiLibInstrumentor().uninstrument()
    found["first copy's methods are its own"] = methods(first) == plain
    AiLibInstrumentor().instrument(**recorders[1].providers)
    record("first copy, next round", first)
    record("second copy, next round", second)
    AiLibInstrumentor().uninstrument()
    found["second copy's methods are its own"] = methods(second) == plain_second
    return {**found, "answers": sorted(answers)}


print(json.dumps({how: tried(how) for how in ("reload", "import")}))  # noqa: T201 - a program
