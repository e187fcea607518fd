"""Real servers for the length of a ``with`` block: each on loopback ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).resolve().parent


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """Find a server's program: installed beside this Python, unpacked by ``install.sh``, or on the search path.

    Raises:
        AssertionError: It is not there. In this suite that is a failure.
    """
    folders = [sysconfig.get_path("scripts"), f"{sysconfig.get_path('purelib')}/rotel"]
    if "BACKENDS_CACHE" in os.environ:
        folders.append(f"{os.environ['BACKENDS_CACHE']}/usr/bin")
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ["PATH"]]))
    assert found, f"{name} is not installed: run {HERE / 'install.sh'}, and this suite by `tox run -e backends`"
    return found


def get(url: str, **params: Any) -> Any:
    """Fetch JSON from a loopback server."""
    answer = httpx.get(url, params=params, timeout=30, trust_env=False)
    assert answer.status_code == 200, f"{url} {params}: {answer.status_code} {answer.text[:2000]}"
    return answer.json()


def answers(url: str) -> Callable[[], bool]:
    """Return the question whether a URL answers 200."""

    def ask() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        return False

    return ask


def listens(*ports: int) -> Callable[[], bool]:
    """Return the question whether something accepts connections on all of these loopback ports."""

    def ask() -> bool:
        for port in ports:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError:
                return False
        return True

    return ask


def until(condition: Callable[[], Any], what: str, timeout: float = 60.0) -> Any:
    """Ask a server again and again until the answer is true, and return it; fail when it takes too long."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.05)
    return answer


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, ready: Callable[[], bool], variables: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a server, wait until it is ready, and stop it in the end.

    Args:
        command: The program, found by :func:`program`, and its arguments.
        folder: Where it runs and writes its log.
        ready: Asked until it says so.
        variables: Its environment, besides this process's without what configures OpenTelemetry and proxies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    plain = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    plain = {name: value for name, value in plain.items() if not name.startswith("OTEL_")}
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**plain, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        until(lambda: process.poll() is not None or ready(), f"{command[0]} does not come up, see {log}", 120)
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
