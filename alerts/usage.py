"""Tokens and money that run away."""

from __future__ import annotations

from typing import Final

from dashboards.promql import JOB, Queries

from opentelemetry_instrumentation_ailib import semconv

from .rules import CRITICAL, WARNING, Alert, Group

TIMES: Final = 3
"""How many times the usage of the same hour of the day before is too much."""

TOKENS: Final = 1_000_000
"""Tokens an hour below which it does not matter."""

DOLLARS: Final = 5
"""Dollars an hour below which it does not matter."""

BUDGET: Final = 100
"""Dollars that a job may spend in 24 hours."""

_BY: Final = (JOB, semconv.LABEL_PROVIDER, semconv.LABEL_MODEL)
_WHO: Final = "{{ $labels.provider }}/{{ $labels.model }}"
_HOUR, _DAY = Queries("1h"), Queries("1d")


def _runs_away(instrument: str, floor: int) -> str:
    now, before = _HOUR.rate(instrument, *_BY), _HOUR.rate(instrument, *_BY, offset="1d")
    # What was idle then has nothing to compare with.
    return f"{now}\n/\n({before} > 0) > {TIMES}\nand\n{_HOUR.increase(instrument, *_BY)} > {floor}"


USAGE: Final = Group(
    "ai-lib-usage",
    [
        Alert(
            "AiLibTokensRunningAway",
            _runs_away(semconv.TOKENS, TOKENS),
            "15m",
            WARNING,
            f"Far more tokens than yesterday go to {_WHO}",
            "{{ $labels.job }} used {{ $value | humanize }} times the tokens of the same hour of the day before.",
        ),
        Alert(
            "AiLibCostRunningAway",
            _runs_away(semconv.COST, DOLLARS),
            "15m",
            WARNING,
            f"{_WHO} costs far more than yesterday",
            "{{ $labels.job }} spent {{ $value | humanize }} times what it did in the same hour of the day before.",
        ),
        Alert(
            "AiLibCostOverBudget",
            f"{_DAY.increase(semconv.COST, JOB)} > {BUDGET}",
            "5m",
            CRITICAL,
            "{{ $labels.job }} is over its budget for AI",
            f'It spent ${{{{ $value | printf "%.2f" }}}} in 24 hours; ${BUDGET} are allowed.',
        ),
    ],
)
