"""What rules are, and how their files are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

RUNBOOKS: Final = "docs/runbooks"
CRITICAL: Final = "critical"
"""Someone is woken."""
WARNING: Final = "warning"
"""Someone looks at it on a working day."""

_HEADER: Final = "# Written by python -m alerts. Change the rules in the package of that name.\n"


def boundary(seconds: float, boundaries: Sequence[float]) -> float:
    """Return a limit for a quantile of a histogram.

    Args:
        seconds: The limit. Between two boundaries a quantile is a guess, and past the last there is none.
        boundaries: Those of the histogram.

    Raises:
        ValueError: It is none of them.
    """
    if seconds not in boundaries:
        raise ValueError(f"{seconds} s is no boundary of the histogram: take one of {', '.join(map(str, boundaries))}")
    return seconds


@dataclass(frozen=True)
class Recording:
    """A recording rule.

    Attributes:
        name: The series that it writes.
        query: What it writes.
    """

    name: str
    query: str

    def rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        return {"record": self.name, "expr": self.query}


@dataclass(frozen=True)
class Alert:
    """An alerting rule.

    Attributes:
        name: Its name, and that of its runbook.
        query: What it fires on.
        lasting: How long that has to hold.
        severity: ``critical`` or ``warning``.
        summary: What is wrong, in a line. Labels are in double braces.
        description: How much, and what it means.
    """

    name: str
    query: str
    lasting: str
    severity: str
    summary: str
    description: str

    def rule(self) -> dict[str, Any]:
        """Return the rule as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.query,
            "for": self.lasting,
            "labels": {"severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{RUNBOOKS}/{self.name}.md",
            },
        }


@dataclass(frozen=True)
class Group:
    """Rules that are evaluated together.

    Attributes:
        name: Its name.
        rules: They, in order.
    """

    name: str
    rules: Sequence[Recording | Alert]


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def rule_file(groups: Iterable[Group]) -> str:
    """Return a file of rules."""
    content = {"groups": [{"name": group.name, "rules": [rule.rule() for rule in group.rules]} for group in groups]}
    return _HEADER + yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
