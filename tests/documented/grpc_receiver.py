"""An OTLP/gRPC receiver on a loopback port, and a proxy through which any host name leads to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from receiver import Receiver


@dataclass
class GrpcReceiver(Receiver):
    """What arrived. ``endpoint`` is that of the server; ``metadata`` that of the calls."""

    metadata: list[dict[str, Any]] = field(default_factory=list)


class _Servicer(TraceServiceServicer):  # type: ignore[misc]
    def __init__(self, received: GrpcReceiver, refusals: list[grpc.StatusCode]) -> None:
        self._received = received
        self._refusals = refusals

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:  # noqa: N802
        self._received.metadata.append(dict(context.invocation_metadata()))
        if self._refusals:
            context.abort(self._refusals.pop(0), "refused")
        self._received.accept("/v1/traces", request.SerializeToString())
        return ExportTraceServiceResponse()


@contextlib.contextmanager
def grpc_receiver(*refusals: grpc.StatusCode, credentials: Any = None) -> Iterator[GrpcReceiver]:
    """Run a :class:`GrpcReceiver` for the length of a ``with`` block.

    Args:
        refusals: The statuses that the first requests get.
        credentials: Of a server that speaks TLS.
    """
    received = GrpcReceiver()
    server = grpc.server(ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(_Servicer(received, list(refusals)), server)  # type: ignore[no-untyped-call]
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
        received.endpoint = f"http://127.0.0.1:{port}"
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
        received.endpoint = f"https://localhost:{port}"
    server.start()
    try:
        yield received
    finally:
        server.stop(None).wait()


@dataclass
class Proxy:
    """An HTTP proxy that knows one destination.

    Attributes:
        url: Where it is.
        asked: The hosts that clients wanted to reach, which they never do.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def proxy(destination: str) -> Iterator[Proxy]:
    """Run a :class:`Proxy` whose every tunnel ends at a loopback address.

    Args:
        destination: ``http://127.0.0.1:port``.
    """
    known = Proxy()
    host, _, port = destination.rpartition("//")[2].partition(":")
    with socket.create_server(("127.0.0.1", 0)) as server:
        known.url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=tunnel, args=(client,), daemon=True).start()

        def tunnel(client: socket.socket) -> None:
            with contextlib.suppress(OSError), client:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(1)
                known.asked.append(head.split()[1].decode())
                with socket.create_connection((host, int(port))) as upstream:
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    back = threading.Thread(target=copy, args=(upstream, client), daemon=True)
                    back.start()
                    copy(client, upstream)
                    back.join()

        def copy(source: socket.socket, target: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        yield known
        server.shutdown(socket.SHUT_RDWR)
