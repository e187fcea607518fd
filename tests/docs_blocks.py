"""The code blocks of a page of the documentation; as a script, its Python, run as the page's reader runs it.

The blocks of a page are one program, in their order, with ``await`` at its top level. What each prints and the traces
that it leaves are written to a file as JSON.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent

WAIT = "ai_lib.resilience.wait"

_FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        language: The word after the fence.
        shows: The word after that: for ``text``, what it shows if not what the block before prints.
        source: What is in it.
    """

    language: str
    shows: str | None
    source: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the fenced blocks of a page, all or those in some languages."""
    found = [Block(*parts) for parts in _FENCE.findall(page.read_text(encoding="utf-8"))]
    return [block for block in found if not languages or block.language in languages]


class Traces:
    """The traces that end in this process, drawn as the demo draws them."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        sys.path.append(str(ROOT / "examples" / "demo"))
        import render

        # The demo has no queue in it.
        if WAIT not in render.CALL_ATTRIBUTES:
            render.CALL_ATTRIBUTES = (*render.CALL_ATTRIBUTES, WAIT)
        self._render = render
        self._exporter = InMemorySpanExporter()
        provider = trace.get_tracer_provider()
        assert isinstance(provider, TracerProvider), "run it under opentelemetry-instrument"
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def take(self) -> list[str]:
        """Return the traces since it was last asked, a text each."""
        spans = self._exporter.get_finished_spans()
        self._exporter.clear()
        draw, split = self._render.tree, self._render.split
        return ["\n".join([*draw(trace), *split(trace)]) for trace in self._render.traces(spans)]


async def run(page: Path) -> list[dict[str, Any]]:
    """Run a page's Python and return, for each block, what it printed and its traces."""
    names: dict[str, Any] = {"__name__": "__main__"}
    traces, output, results = Traces(), io.StringIO(), []
    with contextlib.redirect_stdout(output):
        for block in blocks(page, "python"):
            start = output.tell()
            code = compile(block.source, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)  # noqa: S307 - it is the page's code
            if asyncio.iscoroutine(result):
                await result
            results.append({"printed": output.getvalue()[start:], "traces": traces.take()})
    return results


if __name__ == "__main__":
    Path(os.environ["DOCS_RESULT"]).write_text(json.dumps(asyncio.run(run(Path(sys.argv[1])))), encoding="utf-8")
