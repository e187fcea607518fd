"""A scenario: a provider, a client of it, the calls of an application, and what it wants to know of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from answers import Answer, answers
from calls import Plan
from consumers import CALLS, FORESEEN, HOLDING, STREAMS
from frames import DIALECTS, WIRES
from hypothesis import strategies as st
from manifests import manifests
from policies import NO_POLICY, OTHER, POLICIES, Policy

from opentelemetry_instrumentation_ailib import semconv


@dataclass(frozen=True)
class Telemetry:
    """How the runtime is instrumented.

    Attributes:
        arguments: The arguments of ``instrument()``.
        capture: Where messages go.
        level: From which level on our loggers log.
        inside: Whether the application has a span of its own.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    capture: str = "NO_CONTENT"
    level: int = 5
    inside: bool = True


@dataclass(frozen=True)
class Scenario:
    """All that an example is made of.

    Attributes:
        manifests: The manifest of the model that is asked, and that of another.
        version: The folder that the manifests are in.
        answers: What the provider does.
        plans: What the application does.
        together: Whether it does all of that at once.
        policy: What the client does about failure and load.
        telemetry: How the runtime is instrumented.
    """

    manifests: tuple[dict[str, Any], dict[str, Any]]
    version: str
    answers: tuple[Answer, ...]
    plans: tuple[Plan, ...]
    together: bool = False
    policy: Policy = NO_POLICY
    telemetry: Telemetry = Telemetry()


_STAGES = st.sampled_from(["all", "all", "all", "none", [semconv.HTTP_TRANSPORT, semconv.EVENT_MAP]])
_TELEMETRY = st.builds(
    Telemetry,
    arguments=st.fixed_dictionaries(
        {"stages": _STAGES, "chunk_timing": st.booleans(), "documented_api": st.booleans()}
    ),
    capture=st.sampled_from(["NO_CONTENT", "SPAN_AND_EVENT"]),
    level=st.sampled_from([5, 10, 20, 30, 100]),
    inside=st.booleans(),
)


@st.composite
def _scenarios(
    draw: st.DrawFn, plans: st.SearchStrategy[Plan], policies: st.SearchStrategy[Policy], most: int
) -> Scenario:
    dialect, wire = draw(st.sampled_from(DIALECTS)), draw(st.sampled_from(WIRES))
    given = tuple(draw(st.lists(plans, min_size=1, max_size=most)))
    return Scenario(
        (draw(manifests(dialect, wire)), draw(manifests(dialect, wire))),
        draw(st.sampled_from(["dist/v1", "dist/v2"])),
        tuple(draw(st.lists(answers(dialect, wire), min_size=1, max_size=4))),
        given,
        len(given) > 1 and draw(st.booleans()),
        draw(policies),
        draw(_TELEMETRY),
    )


NO_POLICIES = st.just(NO_POLICY)
OF_CALLS = _scenarios(CALLS, POLICIES, 3)
"""Calls one after the other or at once, through retries, breakers, limiters, queues and fallbacks."""

OF_STREAMS = _scenarios(STREAMS, NO_POLICIES, 2)
"""Streams one after the other or at once."""

OF_BOTH = _scenarios(CALLS | STREAMS, POLICIES, 4)
"""Calls and streams in any order."""

_AT_ONCE = Policy(retry={"max_retries": 1, "min_delay_ms": 0}, fallbacks=(OTHER,))


def _without_waits(scenario: Scenario) -> Scenario:
    answers = (replace(it, headers=tuple(h for h in it.headers if h[0] != "retry-after")) for it in scenario.answers)
    plans = (replace(it, pause=0.0, cancel_at=None, cancel_turn=None) for it in scenario.plans)
    policy = _AT_ONCE if scenario.policy.retry else NO_POLICY
    return replace(scenario, answers=tuple(answers), plans=tuple(plans), policy=policy)


_STRAIGHT = STREAMS.filter(lambda plan: plan.how in FORESEEN - HOLDING)
WITHOUT_WAITS = (OF_CALLS | _scenarios(_STRAIGHT, NO_POLICIES, 2)).map(_without_waits)
"""Calls, or streams that are seen through, in which nothing depends on when things happen."""
