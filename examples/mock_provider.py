"""The runtime's own mock provider (``ai-protocol-mock``) on a free loopback port, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

PROTOCOL = Path(__file__).with_name("protocol")
"""The examples' small provider manifests, for the runtime and for its mock alike."""

# The mock imports datetime.UTC, which Python 3.10 does not have.
_SERVE = """
import datetime, sys, uvicorn
datetime.UTC = datetime.timezone.utc
uvicorn.run("ai_protocol_mock.main:app", host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""


@contextlib.contextmanager
def mock_provider(protocol: Path = PROTOCOL, content: str | None = None) -> Iterator[str]:
    """Run the mock provider for the length of a ``with`` block and yield its base URL, without ``/v1``.

    Args:
        protocol: The folder with the provider manifests that it serves.
        content: What it answers; its own default otherwise.

    Raises:
        RuntimeError: It did not come up within 30 seconds; its output is in the message.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "MANIFEST_DIR": str(protocol)}
    if content is not None:
        environment["MOCK_CONTENT"] = content
    for name in [name for name in environment if name.startswith("OTEL_")]:
        del environment[name]
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(port)],
        env=environment,
        stdin=subprocess.DEVNULL,
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
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _wait_until_up(process: subprocess.Popen[bytes], base_url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{base_url}/health", trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    process.kill()
    _, output = process.communicate()
    raise RuntimeError(f"ai-protocol-mock did not come up at {base_url}:\n{output.decode(errors='replace')[-2000:]}")
