"""The example service under gunicorn, as its README runs it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "fastapi_service"


@dataclass
class Service:
    """A running service.

    Attributes:
        url: Its base URL.
        process: The master process of gunicorn.
    """

    url: str
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """Ask gunicorn to stop, as an orchestrator does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def service(home: Path, **variables: str) -> Iterator[Service]:
    """Run the service for the length of a ``with`` block.

    Args:
        home: A folder for what gunicorn and the service write.
        variables: Its environment besides this process's.
    """
    port = free_port()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    log = home / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "app:app"],
            cwd=FOLDER,
            env={**plain, "HOME": str(home), "BIND": f"127.0.0.1:{port}", **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    running = Service(f"http://127.0.0.1:{port}", process)
    try:
        deadline = time.monotonic() + 60
        while not _healthy(running):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.05)
        yield running
    finally:
        if process.poll() is None and running.stop() != 0:
            raise AssertionError(log.read_text(errors="replace"))


def _healthy(running: Service) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        answer = httpx.get(f"{running.url}/healthz", trust_env=False)
        return answer.status_code == 200 and answer.json() == {"status": "ok"}
    return False
