"""The queries that are shipped: of the dashboards' panels and of the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from promql_parser import VectorSelector, parse, walk

ROOT = Path(__file__).resolve().parent.parent.parent

# What Grafana puts in place of variables of its own, for a server that scrapes every second.
BUILT_IN = {
    "__rate_interval": "1m",
    "__interval": "1m",
    "__range": "1m",
    "__range_s": "60",
    "__rate_interval_ms": "60000",
    "__interval_ms": "60000",
    "__range_ms": "60000",
}
LABEL_VALUES = re.compile(r"label_values\((?P<selector>.*), (?P<label>\w+)\)")
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")


@dataclass(frozen=True)
class Query:
    """A query.

    Attributes:
        title: Where it is from.
        name: The name of the panel or rule.
        expression: It, with no variable left in it.
    """

    title: str
    name: str
    expression: str

    @property
    def reads(self) -> set[tuple[str, str]]:
        """``(metric, label)`` for each label by which it selects a metric, and ``(metric, "")``."""
        found: set[tuple[str, str]] = set()

        def note(node: Any) -> None:
            selector = getattr(node, "vector_selector", node)
            if isinstance(selector, VectorSelector):
                matchers = selector.matchers.matchers
                # A selector without a name looks for what must not be there.
                if selector.name:
                    found.update((selector.name, label) for label in ["", *(matcher.name for matcher in matchers)])

        walk(parse(self.expression), note)
        return found


def dashboards() -> list[Path]:
    """Return the dashboards' files."""
    return sorted((ROOT / "dashboards").glob("*.json"))


def alert_files() -> list[Path]:
    """Return the rules' files."""
    return sorted(file for file in (ROOT / "alerts").glob("*.y*ml") if "groups" in (_yaml(file) or {}))


def _yaml(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _flat(panels: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _flat(panel.get("panels", ()))


def panels() -> list[Query]:
    """Return the queries of every panel, its variables chosen as `All` would."""
    found = []
    for file in dashboards():
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        for panel in _flat(dashboard["panels"]):
            for target in panel.get("targets", ()):
                if "expr" in target:
                    title = f"{file.stem}/{panel['title']}/{target.get('refId', 'A')}"
                    found.append(Query(title, panel["title"], substitute(target["expr"])))
    return found


def variables() -> list[tuple[str, str, str]]:
    """Return ``(title, selector, label)`` of each variable whose values are those of a label."""
    found = []
    for file in dashboards():
        for variable in json.loads(file.read_text(encoding="utf-8"))["templating"]["list"]:
            if variable["type"] == "query":
                match = LABEL_VALUES.fullmatch(variable["query"]["query"])
                assert match, variable
                found.append((f"{file.stem}/{variable['name']}", substitute(match["selector"]), match["label"]))
    return found


def substitute(expression: str) -> str:
    """Put values in place of a dashboard's variables."""
    return VARIABLE.sub(lambda match: BUILT_IN.get(match[1] or match[2], ".*"), expression)


def rules_in(files: Iterable[Path]) -> list[Query]:
    """Return the expressions of rules."""
    return [
        Query(f"{file.stem}/{name}", name, rule["expr"])
        for file in files
        for group in _yaml(file)["groups"]
        for rule in group["rules"]
        for name in [rule.get("alert") or rule["record"]]
    ]


def hurried(folder: Path) -> Path:
    """Write a folder with the shipped rules, evaluated as often as the server does and fired at once."""
    folder.mkdir(parents=True)
    for file in alert_files():
        rules = _yaml(file)
        for group in rules["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                rule.pop("for", None)
        (folder / f"{file.stem}.yaml").write_text(json.dumps(rules), encoding="utf-8")
    return folder
