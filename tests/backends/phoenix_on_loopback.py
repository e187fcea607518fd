"""Start Phoenix with its gRPC port on loopback: it has an option for the address of the other port only."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

# Neither is installed where types are checked, and neither has any.
Server: Any = import_module("grpc.aio._server").Server
listen = Server.add_insecure_port


def listen_on_loopback(self: Any, address: str) -> Any:
    """Open the port where only this machine can reach it."""
    return listen(self, address.replace("[::]", "127.0.0.1"))


Server.add_insecure_port = listen_on_loopback

if __name__ == "__main__":
    sys.argv = ["phoenix", "serve"]
    import_module("phoenix.server.main").main()
