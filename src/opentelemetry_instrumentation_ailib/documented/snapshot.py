"""The snapshot that ``signals_snapshot()`` takes. It needs the runtime's resilience modules, so it is imported late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ai_lib_python.resilience.signals import SignalsSnapshot as RuntimeSnapshot


@dataclass
class SignalsSnapshot(RuntimeSnapshot):
    """The runtime's snapshot of a client, with the two values that the page reads from it.

    Attributes:
        circuit_state: ``closed``, ``half_open`` or ``open``; ``disabled`` for a client without a circuit breaker.
        current_inflight: Requests that hold a permit of the client's back-pressure control; 0 without one.
    """

    circuit_state: str = "disabled"
    current_inflight: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Convert to dictionary."""
        added = {"circuit_state": self.circuit_state, "current_inflight": self.current_inflight}
        return {**super().to_dict(), **added}
