"""The code blocks of the documentation, and how the Python of a page is run.

The blocks of a page are one program, in their order, with ``await`` at its top level. It runs under
``opentelemetry-instrument``, or plainly where the page sets OpenTelemetry up itself, in a process of its own, against
the mock provider. ``python tests/docs_blocks.py docs/resilience.md`` shows what it prints and its traces.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.extend(str(ROOT / folder) for folder in ("examples", "examples/demo", "tests/documented"))

import render  # noqa: E402

if TYPE_CHECKING:
    from grpc_receiver import GrpcReceiver

    from receiver import Receiver

_FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What the mock provider takes for orders: the manifests send these credentials in the headers for that.
_CREDENTIALS = {
    "OPENAI_API_KEY": "for-the-mock",
    "ANTHROPIC_API_KEY": "for-the-mock",
    "OVERLOADED_API_KEY": "503",
    "THROTTLED_API_KEY": "rate_limit",
}
_WIDTH = "120"
# In the demo nothing waits.
_WAIT = "ai_lib.resilience.wait"


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        language: The word after the fence.
        shows: The word after that. A ``text`` without it shows what the block before prints; ``trace``, a trace.
        source: What is in it.
    """

    language: str
    shows: str
    source: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    return [Block(*parts) for parts in _FENCE.findall(page.read_text(encoding="utf-8"))]


# --- in the process of the page ---


class _Traces:
    def __init__(self) -> None:
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._exporter = InMemorySpanExporter()
        self._processor: Any = SimpleSpanProcessor(self._exporter)

    def watch(self) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider

        provider = trace.get_tracer_provider()
        if self._processor is not None and isinstance(provider, TracerProvider):
            provider.add_span_processor(self._processor)
            self._processor = None

    def take(self) -> list[str]:
        spans = self._exporter.get_finished_spans()
        self._exporter.clear()
        return ["\n".join([*render.tree(trace), *render.split(trace)]) for trace in render.traces(spans)]


async def _execute(page: Path) -> list[dict[str, Any]]:
    vars(render)["CALL_ATTRIBUTES"] = (*render.CALL_ATTRIBUTES, _WAIT)
    names: dict[str, Any] = {"__name__": "__main__"}
    traces, output, results = _Traces(), io.StringIO(), []
    with contextlib.redirect_stdout(output):
        for block in blocks(page):
            if block.language != "python":
                continue
            traces.watch()
            start = output.tell()
            code = compile(block.source, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)  # noqa: S307 - it is the page's code
            if asyncio.iscoroutine(result):
                await result
            results.append({"printed": output.getvalue()[start:], "traces": traces.take()})
    return results


# --- around it ---


@dataclass(frozen=True)
class Run:
    """What came of running a page.

    Attributes:
        printed: What each Python block printed.
        traces: The traces that each left, drawn.
        errors: Standard error.
        http: What arrived by OTLP over HTTP.
        grpc: What arrived by OTLP over gRPC.
    """

    printed: list[str]
    traces: list[list[str]]
    errors: str
    http: Receiver
    grpc: GrpcReceiver


def run(page: Path, provider: str) -> Run:
    """Run a page's Python to its end.

    Args:
        page: The page. Variables that it exports in a ``sh`` block are in the environment.
        provider: The base URL to which all manifests lead.
    """
    # Not for the process of the page, in which they take as long to load as the page to run.
    from grpc_receiver import grpc_receiver, proxy

    from receiver import receiver

    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        http, grpc = stack.enter_context(receiver()), stack.enter_context(grpc_receiver())
        _lead_manifests_to(provider, home)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
            **exported(page),
            **_CREDENTIALS,
            "AI_PROTOCOL_DIR": str(home),
            "COLUMNS": _WIDTH,
            "PYTHONUTF8": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": http.endpoint,
            # They have spans of their own, and to load them takes longer than a page does.
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "asgi,fastapi,httpx,logging",
            # To gRPC every host is one behind this proxy.
            "grpc_proxy": stack.enter_context(proxy(grpc.endpoint)).url,
        }
        command = [*_launcher(page), sys.executable, __file__, "--execute", str(page), str(home / "results.json")]
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", timeout=120
        )
        if done.returncode != 0:
            raise RuntimeError(f"{page} does not run:\n{done.stderr}")
        results = json.loads((home / "results.json").read_text(encoding="utf-8"))
    return Run([each["printed"] for each in results], [each["traces"] for each in results], done.stderr, http, grpc)


def exported(page: Path) -> dict[str, str]:
    """Return the variables that a page's ``sh`` blocks export."""
    shell = "".join(block.source for block in blocks(page) if block.language == "sh")
    return dict(re.findall(r"^export (\w+)=(\S+)$", shell, re.MULTILINE))


def _lead_manifests_to(base_url: str, folder: Path) -> None:
    from mock_provider import PROTOCOL

    for manifest in PROTOCOL.rglob("*.yaml"):
        target = folder / manifest.relative_to(PROTOCOL)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = manifest.read_text(encoding="utf-8")
        target.write_text(re.sub(r"base_url: .*", f"base_url: {base_url}", text), encoding="utf-8")


def _launcher(page: Path) -> list[str]:
    if "set_tracer_provider" in page.read_text(encoding="utf-8"):
        return []
    none = [word for signal in ("traces", "metrics", "logs") for word in (f"--{signal}_exporter", "none")]
    return [str(Path(sys.executable).with_name("opentelemetry-instrument")), *none]


def main(arguments: list[str]) -> int:
    """Run pages and show what came of them."""
    from mock_provider import mock_provider

    parser = argparse.ArgumentParser(
        prog="python tests/docs_blocks.py",
        description="Run the Python of each page against the mock provider; print what it prints, and its traces.",
    )
    parser.add_argument("pages", nargs="+", type=Path, metavar="PAGE", help="docs/resilience.md, for one")
    pages = parser.parse_args(arguments).pages
    if missing := [str(page) for page in pages if not page.is_file()]:
        parser.error(f"there is no {', '.join(missing)}")
    with mock_provider() as provider:
        done = {page: run(page, f"{provider}/v1") for page in pages}
    for page, shown in done.items():
        for number, (printed, traces) in enumerate(zip(shown.printed, shown.traces, strict=True), 1):
            print(f"--- {page}, Python block {number}", printed, *traces, sep="\n")  # noqa: T201 - a program
        sys.stderr.write(shown.errors)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--execute"]:
        Path(sys.argv[3]).write_text(json.dumps(asyncio.run(_execute(Path(sys.argv[2])))), encoding="utf-8")
    else:
        sys.exit(main(sys.argv[1:]))
