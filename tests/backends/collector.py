"""rotel, an OTLP collector in Rust, and what it passes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servers import free_port, listens, program, running

from receiver import Receiver, receiver


@dataclass(frozen=True)
class Ports:
    """Where a collector listens."""

    grpc: int
    http: int

    def endpoint(self, protocol: str) -> str:
        """Return the endpoint for ``grpc`` or ``http``."""
        return f"http://127.0.0.1:{self.grpc if protocol == 'grpc' else self.http}"


@contextlib.contextmanager
def rotel(folder: Path, ports: Ports, target: str) -> Iterator[None]:
    """Run rotel.

    Args:
        folder: Where it keeps what it needs.
        ports: Where it listens.
        target: The OTLP/HTTP endpoint that it passes everything on to.
    """
    options = {
        "otlp-grpc-endpoint": f"127.0.0.1:{ports.grpc}",
        "otlp-http-endpoint": f"127.0.0.1:{ports.http}",
        "exporter": "otlp",
        "otlp-exporter-protocol": "http",
        "otlp-exporter-endpoint": target,
        "batch-timeout": "50ms",
        "pid-file": str(folder / "rotel.pid"),
        "log-file": str(folder / "rotel.log"),
    }
    command = [program("rotel-agent"), "start", *(f"--{name}={value}" for name, value in options.items())]
    with running(command, folder, listens(ports.grpc, ports.http)):
        yield


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[tuple[Ports, Receiver]]:
    """Run rotel in front of a receiver of ours, to see what came through."""
    ports = Ports(free_port(), free_port())
    with receiver() as received, rotel(folder, ports, received.endpoint):
        yield ports, received
