"""What the classes of the page stand on: the round of instrumentation that is active, if one is.

Applications make those classes themselves, from the runtime's modules or from ours, and hand them no bundle. So there
is one of this in a process, as there is one set of patches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.trace import TracerProvider

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.live import GLOBAL, is_same
from opentelemetry_instrumentation_ailib.telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry_instrumentation_ailib.documented.export_failures import ExportFailures
    from opentelemetry_instrumentation_ailib.documented.feedback import Recorder
    from opentelemetry_instrumentation_ailib.documented.outcomes import Outcomes


@dataclass(frozen=True)
class Round:
    """One round, from ``instrument()`` to ``uninstrument()``.

    Attributes:
        telemetry: The bundle.
        tracer_provider: Where spans go; ``None`` for the global one.
        feedback: Records feedback and knows the calls that it may be about.
        outcomes: How the calls of each provider ended.
        failures: What exporters could not deliver.
    """

    telemetry: Telemetry
    tracer_provider: TracerProvider | None
    feedback: Recorder
    outcomes: Outcomes
    failures: ExportFailures


class Current:
    """The active round.

    Attributes:
        round: It, or ``None``.
    """

    def __init__(self) -> None:
        self.round: Round | None = None
        self._provider: Any = None

    def begin(self, active: Round, meter: Meter, meter_provider: Any) -> None:
        """Let a round be the active one, and its outcomes what the gauge reads.

        Args:
            active: The round.
            meter: The meter of this instrumentation's scope.
            meter_provider: The provider that it comes from; ``None`` for the global one.
        """
        # By provider: the SDK keeps the callbacks of the first gauge of a name.
        provider = self._provider = GLOBAL if meter_provider is None else meter_provider
        self.round = active

        def read(_: CallbackOptions) -> Iterable[Observation]:
            round_ = self.round if is_same(self._provider, provider) else None
            return () if round_ is None else _observations(round_.outcomes)

        meter.create_observable_gauge(
            semconv.PROVIDER_HEALTH, [read], "{status}", "1 for the status that a provider's recent calls give it"
        )

    def end(self) -> None:
        """Let no round be active."""
        self.round = self._provider = None


def _observations(outcomes: Outcomes) -> list[Observation]:
    return [
        Observation(int(name == status), {semconv.LABEL_PROVIDER: provider, semconv.LABEL_STATUS: name})
        for provider, status in outcomes.statuses().items()
        for name in semconv.HEALTH_STATUSES
    ]


CURRENT: Final = Current()
