"""What the tests of the examples share: running a program, and reading what the console exporters print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))


def environment(**variables: str | None) -> dict[str, str]:
    """Return this process's environment, changed; ``None`` takes a variable out."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    changed = {**plain, "PYTHONUTF8": "1", **variables}
    return {name: value for name, value in changed.items() if value is not None}


def run(*command: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        command,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


class Console:
    """What a program and its console exporters printed.

    Args:
        output: The program's standard output.

    Attributes:
        text: What came before the exporters' JSON, which is what the program itself had to say.
    """

    def __init__(self, output: str) -> None:
        found: list[Any] = []
        position = output.find("\n{")
        self.text = output[:position] if position >= 0 else output.rstrip("\n")
        while position >= 0:
            value, end = json.JSONDecoder().raw_decode(output, position + 1)
            found.append(value)
            position = output.find("\n{", end)
        self._spans = [value for value in found if "parent_id" in value]
        self._scopes = [
            scope
            for value in found
            for resource in value.get("resource_metrics", ())
            for scope in resource["scope_metrics"]
        ]

    @property
    def spans(self) -> list[tuple[str, str | None]]:
        """``(name, name of the parent)`` of each span, sorted."""
        names = {span["context"]["span_id"]: span["name"] for span in self._spans}
        return sorted(((span["name"], names.get(span["parent_id"])) for span in self._spans), key=str)

    @property
    def metrics(self) -> set[tuple[str, str]]:
        """``(scope, name)`` of each metric."""
        return {(scope["scope"]["name"], metric["name"]) for scope in self._scopes for metric in scope["metrics"]}
