"""The Python code of the AI-Lib observability page, run as it is printed there.

The files in ``page/`` hold the page's code blocks, in its order, unchanged. Like the page's reader this program brings
along what a block takes for granted: ``AiClient``, the response before feedback is given, and requests where the page
says that there are some.

As a script it runs them all under ``opentelemetry-instrument`` and prints what the page's code yields as JSON.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().with_name("page")
BLOCKS = ("metrics", "tracing", "health", "feedback", "signals")

Calls = Callable[[dict[str, Any]], Awaitable[None]]


async def run(block: str, names: dict[str, Any], calls: Calls | None = None) -> str:
    """Run a block and return what it printed.

    Args:
        block: Its name.
        names: Its global names, as the blocks before left them.
        calls: What happens where the block has a comment that says so.
    """
    source = (PAGE / f"{block}.txt").read_text(encoding="utf-8")
    after = next((number for number, line in enumerate(source.splitlines(), 1) if line.startswith("# After")), 0)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        for statement in ast.parse(source).body:
            if after and calls is not None and statement.lineno > after:
                await calls(names)
                after = 0
            module = ast.Module([statement], type_ignores=[])
            code = compile(module, f"{block}.txt", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)  # noqa: S307 - it is the page's code
            if asyncio.iscoroutine(result):
                await result
    return output.getvalue()


async def some_requests(names: dict[str, Any]) -> None:
    """Make a call, a stream and a call that fails with the client of the block."""
    client = names["client"]
    _, names["stats"] = await client.chat().user("Hello?").execute_with_stats()
    stream, _ = await client.chat().user("Hello?").stream_with_stats()
    async for _ in stream:
        pass
    with contextlib.suppress(TypeError):
        await client.chat().user("Hello?").param("seed", object()).execute()


async def a_response(names: dict[str, Any]) -> None:
    """Get a response from the client of the block before."""
    _, names["stats"] = await names["client"].chat().user("Hello?").execute_with_stats()


CALLS: dict[str, Calls] = {"metrics": some_requests, "feedback": a_response}


async def main() -> dict[str, Any]:
    """Run every block and return what their code yields."""
    from ai_lib_python import AiClient

    names: dict[str, Any] = {"AiClient": AiClient}
    printed = {block: await run(block, names, CALLS.get(block)) for block in BLOCKS}
    stats = names["stats"]
    known = ("request_id", "trace_id", "traceparent", "model", "provider")
    tokens = ("prompt_tokens", "completion_tokens", "total_tokens", "latency_ms")
    return {
        "printed": printed,
        "prometheus_text": names["prometheus_text"],
        "stats": {name: getattr(stats, name) for name in (*known, *tokens)},
    }


if __name__ == "__main__":
    if "--instrument" in sys.argv:
        from opentelemetry_instrumentation_ailib import AiLibInstrumentor

        AiLibInstrumentor().instrument()
    Path(os.environ["PAGE_RESULT"]).write_text(json.dumps(asyncio.run(main())), encoding="utf-8")
