"""What ``HealthChecker.check()`` returns. It extends a class of the runtime's telemetry, so it is imported late."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ai_lib_python.telemetry.health import AggregatedHealth, HealthStatus


@dataclass
class HealthReport(AggregatedHealth):
    """The health of everything, from what happened of late.

    Attributes:
        status: The overall status.
        checks: The results of the checks that the application registered.
        timestamp: When it was put together.
        details: ``providers``, ``circuit_breakers``, ``queues``, ``telemetry`` and ``checks``, as plain values.
    """

    details: dict[str, Any] = field(default_factory=dict)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing says that the application cannot work: unknown is not unhealthy, and neither is degraded."""
        return self.status is not HealthStatus.UNHEALTHY

    def to_dict(self) -> dict[str, Any]:
        """Convert to dictionary."""
        return {**super().to_dict(), "is_healthy": self.is_healthy, "details": self.details}
