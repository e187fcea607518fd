"""Phoenix, which stores traces and shows them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from servers import answers, free_port, listens, running


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
