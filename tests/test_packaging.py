"""What gets distributed: the files, the metadata, and what importing it brings along."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import Distribution, PathDistribution, entry_points, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from conftest import ROOT
from opentelemetry_instrumentation_ailib import AiLibInstrumentor, __version__
from opentelemetry_instrumentation_ailib.package import _instruments

NAME = "opentelemetry_instrumentation_ailib"
DIST_INFO = f"{NAME}-{__version__}.dist-info"

UNWANTED = f"""
import sys
from {NAME} import AiLibInstrumentor

AiLibInstrumentor().instrument()
AiLibInstrumentor().uninstrument()
unwanted = ("ai_lib_python", "httpx", "opentelemetry.sdk", "pydantic")
print(sorted(name for name in sys.modules if name.startswith(unwanted)))
"""

BESIDES = f"""
import sys
import ai_lib_python
from {NAME} import AiLibInstrumentor

known = set(sys.modules)
AiLibInstrumentor().instrument()
names = {{name.partition(".")[0] for name in sys.modules.keys() - known}}
print(sorted(names - sys.stdlib_module_names))
"""


def build(source: Path, target: Path) -> Path:
    """Build sdist and wheel of a source tree, offline, and return the folder they are in."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with this version's sdist and wheel."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def wheel(built: Path) -> Path:
    return built / f"{NAME}-{__version__}-py3-none-any.whl"


@pytest.fixture
def distribution(wheel: Path) -> Distribution:
    """The metadata inside the wheel."""
    return PathDistribution(zipfile.Path(wheel, f"{DIST_INFO}/"))


def requirements(distribution: Distribution, extra: str = "") -> dict[str, SpecifierSet]:
    """Return name and range of what an extra adds; without one, of what is always required."""
    marker = f'extra == "{extra}"' if extra else "None"
    found = map(Requirement, distribution.requires or ())
    return {requirement.name: requirement.specifier for requirement in found if str(requirement.marker) == marker}


def test_a_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    expected = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.suffix in (".py", ".typed")}
    expected |= {f"{DIST_INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    expected.add(f"{DIST_INFO}/licenses/LICENSE")
    assert set(zipfile.ZipFile(wheel).namelist()) == expected


def test_a_wheel_tells_type_checkers_that_it_is_typed(wheel: Path) -> None:
    assert f"{NAME}/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_built_elsewhere_and_at_another_time_wheel_and_sdist_are_the_same_to_the_byte(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another folder, from the sdist, with other times and permissions of the files and in another time zone."""
    with tarfile.open(built / f"{NAME}-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"{NAME}-{__version__}"
    (source / "PKG-INFO").unlink()  # The one file that the repository does not have.
    for file in source.rglob("*"):
        os.utime(file, (86400, 86400))
        file.chmod(file.stat().st_mode & 0o700)
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    again = build(source, tmp_path / "dist")
    names = sorted(path.name for path in built.iterdir())
    assert names == [f"{NAME}-{__version__}-py3-none-any.whl", f"{NAME}-{__version__}.tar.gz"]
    assert [(again / name).read_bytes() == (built / name).read_bytes() for name in names] == [True, True]


def test_the_times_in_wheel_and_sdist_are_the_ones_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    wheel, sdist = sorted(build(ROOT, tmp_path).iterdir())
    assert {info.date_time for info in zipfile.ZipFile(wheel).infolist()} == {(2023, 11, 14, 22, 13, 20)}
    with tarfile.open(sdist) as archive:
        assert {member.mtime for member in archive.getmembers()} == {1700000000}


def test_an_sdist_brings_what_its_tests_need(built: Path) -> None:
    with tarfile.open(built / f"{NAME}-{__version__}.tar.gz") as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}
    assert {"tests/conftest.py", "examples/mock_provider.py", "pyproject.toml", "tox.ini", "README.md"} <= names


def test_required_are_five_distributions(distribution: Distribution) -> None:
    assert sorted(requirements(distribution)) == [
        "opentelemetry-api",
        "opentelemetry-instrumentation",
        "opentelemetry-semantic-conventions",
        "opentelemetry-util-genai",
        "wrapt",
    ]


def test_each_extra_adds_what_its_name_says(distribution: Distribution) -> None:
    runtime = {"ai-lib-python"}
    otlp = {"opentelemetry-distro", "opentelemetry-exporter-otlp", "opentelemetry-sdk"}
    prometheus = {"opentelemetry-distro", "opentelemetry-exporter-prometheus", "opentelemetry-sdk"}
    cost = {"genai-prices"}
    extras = distribution.metadata.get_all("Provides-Extra") or []
    assert {extra: set(requirements(distribution, extra)) for extra in extras} == {
        "instruments": runtime,
        "otlp": otlp,
        "prometheus": prometheus,
        "cost": cost,
        "all": runtime | otlp | prometheus | cost,
    }


def test_the_instrumentor_supports_what_the_extra_installs(distribution: Distribution) -> None:
    (supported,) = map(Requirement, _instruments)
    assert requirements(distribution, "instruments") == {supported.name: supported.specifier}


def test_the_oldest_environment_is_pinned_to_the_lower_bounds(distribution: Distribution) -> None:
    pins = dict(re.findall(r"^    oldest: (\S+) == (\S+)$", (ROOT / "tox.ini").read_text("utf-8"), re.MULTILINE))
    ranges = {**requirements(distribution), **requirements(distribution, "all")}
    bounds = {
        name: Version(bound.version)
        for name, specifiers in ranges.items()
        for bound in specifiers
        if bound.operator in (">=", "~=")
    }
    assert {name: Version(pin) for name, pin in pins.items() if name in bounds} == bounds


def test_opentelemetry_finds_the_instrumentor_by_its_entry_point() -> None:
    (entry_point,) = entry_points(group="opentelemetry_instrumentor", name="ailib")
    assert entry_point.load() is AiLibInstrumentor


def test_the_version_is_the_installed_and_the_built_one(distribution: Distribution) -> None:
    assert (version(NAME), distribution.version) == (__version__, __version__)


def printed(program: str) -> str:
    """Run a program in a process that knows of no telemetry, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.rstrip("\n")


def test_instrumenting_imports_neither_the_runtime_nor_the_sdk() -> None:
    assert printed(UNWANTED) == "[]"


def test_instrumenting_a_runtime_that_is_imported_imports_nothing_besides_the_price_list() -> None:
    names = printed(BESIDES)
    assert "genai_prices" in names
    without = "import sys; sys.modules['genai_prices'] = None" + BESIDES
    assert printed(without) == "[]"


def test_the_reason_of_every_requirement_and_its_bounds_is_told(distribution: Distribution) -> None:
    """The tables of CONTRIBUTING.md have a row for each, with the bounds of the metadata."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\|(?: `\w+`(?:, `\w+`)* \|)? `([\w-]+)` \| `([^`]+)` \| .+ \| .+ \|$", text, re.MULTILINE)
    told = {(name, SpecifierSet(bounds)) for name, bounds in rows}
    assert told == {*requirements(distribution).items(), *requirements(distribution, "all").items()}


def test_every_requirement_has_a_bound_below_and_one_above(distribution: Distribution) -> None:
    ranges = {**requirements(distribution), **requirements(distribution, "all")}
    assert [name for name, bounds in ranges.items() if "99" in bounds or "0.0.1" in bounds] == []


def test_the_license_is_an_spdx_expression_and_its_text_comes_along(distribution: Distribution) -> None:
    metadata = distribution.metadata
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert [line for line in metadata.get_all("Classifier") or () if line.startswith("License")] == []
