"""The runtime's own mock provider (``ai-protocol-mock``) on a free loopback port, in a process of its own.

As a script it runs a command against the mock::

    python examples/mock_provider.py python examples/manual/app.py
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

PROTOCOL = Path(__file__).resolve().with_name("protocol")
"""The examples' small provider manifests, for the runtime and for its mock alike."""

# The mock imports datetime.UTC, which Python 3.10 does not have.
# It lives as long as the pipe to its standard input: however the program at the other end ends, none is left behind.
_SERVE = """
import datetime, os, sys, threading, uvicorn
datetime.UTC = datetime.timezone.utc
threading.Thread(target=lambda: os._exit(len(os.read(0, 1))), daemon=True).start()
uvicorn.run("ai_protocol_mock.main:app", host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


@contextlib.contextmanager
def mock_provider(protocol: Path = PROTOCOL, content: str | None = None, delay: float = 0.0) -> Iterator[str]:
    """Run the mock provider for the length of a ``with`` block and yield its base URL, without ``/v1``.

    Args:
        protocol: The folder with the provider manifests that it serves.
        content: What it answers; its own default otherwise.
        delay: Seconds before each answer.

    Raises:
        RuntimeError: It did not come up within 30 seconds; its output is in the message.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(port)],
        env=_environment(protocol, content, delay),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        # A Ctrl-C at the terminal is for the program that runs us; it ends this process in its own time.
        start_new_session=True,
    )
    try:
        base_url = f"http://127.0.0.1:{port}"
        _wait_until_up(process, base_url)
        yield base_url
    finally:
        try:
            process.communicate(timeout=5)  # It closes the pipe.
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _environment(protocol: Path, content: str | None, delay: float) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    # Started under opentelemetry-instrument it would tell of itself, to wherever the application's telemetry goes.
    environment.update(MANIFEST_DIR=str(protocol), RESPONSE_DELAY=str(delay), ERROR_RATE="0", OTEL_SDK_DISABLED="true")
    if content is not None:
        environment["MOCK_CONTENT"] = content
    return environment


def _wait_until_up(process: subprocess.Popen[bytes], base_url: str) -> None:
    deadline = time.monotonic() + 30
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if client.get(f"{base_url}/health").status_code == 200:
                    return
            time.sleep(0.05)
    process.kill()
    _, output = process.communicate()
    raise RuntimeError(f"ai-protocol-mock did not come up at {base_url}:\n{output.decode(errors='replace')[-2000:]}")


def main(command: list[str]) -> int:
    """Run a command with an environment that leads the examples to the mock, and return its exit code."""
    if not command or command[0].startswith("-"):
        print("usage: python examples/mock_provider.py COMMAND...\n\nRun a command against the mock provider.")
        return 0 if command in (["-h"], ["--help"]) else 2
    with mock_provider() as base_url, contextlib.suppress(KeyboardInterrupt):
        environment = {
            **os.environ,
            "AI_BASE_URL": f"{base_url}/v1",
            "AI_PROTOCOL_DIR": str(PROTOCOL),
            "OPENAI_API_KEY": "for-the-mock",
            "ANTHROPIC_API_KEY": "for-the-mock",
        }
        try:
            return subprocess.run(command, env=environment, check=False).returncode
        except FileNotFoundError:
            print(f"There is no command {command[0]!r}.", file=sys.stderr)
            return 127
    return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
