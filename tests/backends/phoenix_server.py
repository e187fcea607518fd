"""Phoenix, which stores traces and shows them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from servers import answers, free_port, get, listens, running, until


@contextlib.contextmanager
def phoenix_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run Phoenix on loopback alone, and yield its endpoints by protocol; its pages are at that of ``http``.

    Args:
        folder: Where it keeps what it needs.
    """
    http, grpc = free_port(), free_port()
    variables = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(http),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    }
    url = f"http://127.0.0.1:{http}"

    def ready() -> bool:
        return listens(grpc)() and answers(f"{url}/healthz")()

    launcher = Path(__file__).with_name("phoenix_on_loopback.py")
    with running([sys.executable, str(launcher)], folder, ready, variables):
        yield {"http": url, "grpc": f"http://127.0.0.1:{grpc}"}


def stored(endpoint: str, spans: Iterable[Any]) -> dict[str, Any]:
    """Wait until Phoenix has spans that were sent, and return what it has of each, by id."""
    sent = {f"{span.context.span_id:016x}" for span in spans}

    def found() -> dict[str, Any] | None:
        kept = {span["context"]["span_id"]: span for span in project(endpoint, "/spans", limit=1000)}
        return {key: kept[key] for key in sent} if sent <= kept.keys() else None

    kept: dict[str, Any] = until(found, "Phoenix has the spans")
    return kept


def trace_url(endpoint: str, trace_id: str) -> str:
    """Return the address of the page of a trace."""
    return f"{endpoint}/projects/{project(endpoint)['id']}/traces/{trace_id}"


def project(endpoint: str, path: str = "", **params: Any) -> Any:
    """Return what Phoenix has of the project that everything is in."""
    return get(f"{endpoint}/v1/projects/default{path}", **params)["data"]
