"""The audit tells what is vulnerable from what nobody could be asked about, and asks about all that is required."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from conftest import ROOT


def load(name: str) -> Any:
    """Import a program of the CI, whose folder is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


audit = load("audit")

FINE = {"name": "wrapt", "version": "2.5.2", "vulns": []}
SKIPPED = {"name": "httpx", "skip_reason": "Dependency not found on PyPI and could not be audited: httpx (0.28.1)"}
FOUND = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2.0", "1.9.1"], "description": ""}
UNFIXED = {"id": "PYSEC-2", "aliases": [], "fix_versions": [], "description": ""}
SAID = ["requests 1.0: PYSEC-1, CVE-1; fixed in 2.0, 1.9.1", "requests 1.0: PYSEC-2; fixed in no release"]
VULNERABLE = {"name": "requests", "version": "1.0", "vulns": [FOUND, UNFIXED]}


@pytest.mark.parametrize(
    ("report", "code", "said"),
    [
        ({"dependencies": [FINE]}, 0, []),
        ({"dependencies": [FINE, VULNERABLE]}, 1, SAID),
        ({"dependencies": [FINE, SKIPPED]}, 3, [f"not audited: {SKIPPED['skip_reason']}"]),
        ({"dependencies": [VULNERABLE, SKIPPED]}, 1, [f"not audited: {SKIPPED['skip_reason']}", *SAID]),
        (None, 3, ["pip-audit came to no end."]),
    ],
    ids=["nothing", "a vulnerability", "an unknown package", "both", "no report"],
)
def test_a_vulnerability_fails_and_what_is_not_known_is_said(report: Any, code: int, said: list[str]) -> None:
    assert audit.verdict(report) == (code, said)


def test_everything_that_the_package_requires_is_audited_and_the_package_is_not() -> None:
    required = audit.required("opentelemetry-instrumentation-ailib[all]")
    direct = {"opentelemetry-api", "wrapt", "ai-lib-python", "genai-prices", "opentelemetry-exporter-otlp"}
    indirect = {"httpx", "pydantic-core", "protobuf", "opentelemetry-sdk"}
    assert direct | indirect <= set(required)
    assert {"opentelemetry-instrumentation-ailib", "pytest"} & set(required) == set()


def test_an_extra_that_is_not_asked_for_is_not_audited() -> None:
    required = audit.required("opentelemetry-instrumentation-ailib")
    assert "wrapt" in required
    assert {"ai-lib-python", "genai-prices", "opentelemetry-sdk"} & set(required) == set()
