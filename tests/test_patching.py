"""Patches: applied whenever the module is imported, taken back to the very objects that stood there."""

from __future__ import annotations

import copy
import importlib
import itertools
import logging
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wrapt

from opentelemetry_instrumentation_ailib import ROWS, patching
from opentelemetry_instrumentation_ailib.patching import Addition, Arrival, Patcher, Row, Wrapper

SOURCE = '''
class Target:
    """Methods of every kind, each of which says what it was called on and with."""

    def method(self, value=0):
        return ("method", type(self).__name__, value)

    async def coroutine(self, value=0):
        return ("coroutine", type(self).__name__, value)

    @classmethod
    def for_class(cls, value=0):
        return ("for_class", cls.__name__, value)

    @staticmethod
    def static(value=0):
        return ("static", None, value)


class Child(Target):
    """Inherits all of it."""


class Rebel(Target):
    """Keeps a method that it overrides."""

    def __init__(self):
        self.inherited = super().method

    def method(self, value=0):
        return ("overridden", type(self).__name__, value)


def function(value=0):
    return ("function", None, value)
'''
METHODS = ("method", "coroutine", "for_class", "static")
MODULES = (f"ailib_dummy_{number}" for number in itertools.count())
LOGGER = "opentelemetry_instrumentation_ailib.patching"


@pytest.fixture
def dummy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that nobody has imported and that can be imported."""
    name = next(MODULES)
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def patcher() -> Iterator[Patcher]:
    """A patcher whose patches do not outlive the test."""
    patcher = Patcher()
    yield patcher
    patcher.undo()


def logging_to(calls: list[Any]) -> Callable[[Any], Wrapper]:
    """Build a wrapper that notes the bundle for each call of the original."""

    def build(bundle: Any) -> Wrapper:
        def run(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
            calls.append(bundle)
            return wrapped(*args, **kwargs)

        return run

    return build


def rows(module: str, calls: list[Any], *targets: str) -> list[Row]:
    """Return a row for each method of the dummy's class."""
    return [Row(module, f"Target.{name}", logging_to(calls)) for name in targets or METHODS]


# --- the rows of the runtime ---


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.module}:{row.target}")
def test_every_row_is_found_on_the_installed_runtime(row: Row) -> None:
    owner, name, attribute = row.resolve()
    assert f"{owner.__qualname__}.{name}" == row.target
    assert owner.__module__ == row.module
    assert vars(owner)[name] is attribute
    assert callable(attribute)


def test_no_target_is_listed_twice() -> None:
    assert len({(row.module, row.target) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize(
    ("module", "target", "error"),
    [
        ("ai_lib_python.absent", "AiClient._execute_chat", ImportError),
        ("ai_lib_python.client.core", "Absent._execute_chat", AttributeError),
        ("ai_lib_python.client.core", "AiClient.absent", AttributeError),
        # Inherited: patching it here would leave a copy behind.
        ("ai_lib_python.errors.base", "RemoteError.with_hint", AttributeError),
    ],
)
def test_a_target_that_is_not_there_does_not_resolve(module: str, target: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Row(module, target, logging_to([])).resolve()


# --- applying ---


@pytest.mark.parametrize("before", [True, False], ids=["imported-before", "imported-after"])
async def test_every_kind_of_method_is_patched_whenever_its_module_is_imported(
    before: bool, dummy: str, patcher: Patcher
) -> None:
    calls: list[Any] = []
    if before:
        importlib.import_module(dummy)
    patcher.apply(rows(dummy, calls), "bundle")
    module = importlib.import_module(dummy)
    target = module.Target()
    assert target.method(1) == ("method", "Target", 1)
    assert await target.coroutine(value=2) == ("coroutine", "Target", 2)
    assert module.Child.for_class(3) == ("for_class", "Child", 3)
    assert module.Target.static(4) == ("static", None, 4)
    assert calls == ["bundle"] * 4


def test_applying_imports_nothing(dummy: str, patcher: Patcher) -> None:
    patcher.apply(rows(dummy, []), None)
    assert dummy not in sys.modules


def test_what_is_not_there_is_skipped_with_a_debug_record_and_the_others_are_patched(
    dummy: str, patcher: Patcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    calls: list[Any] = []
    module = importlib.import_module(dummy)
    missing = [Row(dummy, target, logging_to(calls)) for target in ("Target.absent", "Absent.method", "Child.method")]
    patcher.apply([*missing, *rows(dummy, calls, "method")], "bundle")
    module.Child().method()
    assert calls == ["bundle"]
    assert "method" not in vars(module.Child)
    records = [record for record in caplog.records if record.name == LOGGER]
    assert [(record.levelno, record.getMessage()) for record in records] == [
        (logging.DEBUG, f"{dummy}:{target} is not there and stays uninstrumented")
        for target in ("Target.absent", "Absent.method", "Child.method")
    ]
    assert all(record.exc_info for record in records)


def test_a_wrapper_that_cannot_be_built_leaves_its_target_alone(dummy: str, patcher: Patcher) -> None:
    def broken(_: Any) -> Wrapper:
        raise ValueError("broken")

    module = importlib.import_module(dummy)
    original = vars(module.Target)["method"]
    patcher.apply([Row(dummy, "Target.method", broken)], None)
    assert vars(module.Target)["method"] is original


# --- undoing ---


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_undo_puts_back_the_very_objects(rounds: int, dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    originals = {name: vars(module.Target)[name] for name in METHODS}
    calls: list[Any] = []
    for number in range(rounds):
        patcher.apply(rows(dummy, calls), number)
        assert not any(vars(module.Target)[name] is originals[name] for name in METHODS)
        module.Target().method()
        patcher.undo()
        assert all(vars(module.Target)[name] is originals[name] for name in METHODS)
        module.Target().method()
    assert calls == list(range(rounds))


def test_undo_puts_back_the_objects_of_a_module_imported_after_apply(dummy: str, patcher: Patcher) -> None:
    patcher.apply(rows(dummy, []), None)
    module = importlib.import_module(dummy)
    wrapped = {name: vars(module.Target)[name] for name in METHODS}
    patcher.undo()
    assert all(vars(module.Target)[name] is wrapped[name].__wrapped__ for name in METHODS)


def test_undo_puts_back_every_row_of_the_runtime() -> None:
    found = [row.resolve() for row in ROWS]
    patcher = Patcher()
    patcher.apply([Row(row.module, row.target, logging_to([])) for row in ROWS], None)
    assert not any(vars(owner)[name] is original for owner, name, original in found)
    patcher.undo()
    assert all(vars(owner)[name] is original for owner, name, original in found)


def test_two_rows_of_one_target_come_off_in_reverse_order(dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    original = vars(module.Target)["method"]
    calls: list[Any] = []
    patcher.apply(rows(dummy, calls, "method", "method"), "bundle")
    module.Target().method()
    assert calls == ["bundle", "bundle"]
    patcher.undo()
    assert vars(module.Target)["method"] is original


def test_undo_without_apply_does_nothing(patcher: Patcher) -> None:
    patcher.undo()


@pytest.mark.parametrize("name", METHODS)
async def test_a_method_that_somebody_kept_is_switched_off_by_undo(name: str, dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    calls: list[Any] = []
    patcher.apply(rows(dummy, calls), "bundle")
    kept = getattr(module.Target(), name)
    patcher.undo()
    result = kept(7)
    if name == "coroutine":
        result = await result
    assert (result[0], result[2]) == (name, 7)
    assert calls == []


def test_a_kept_method_stays_off_when_the_patch_is_applied_anew(dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    calls: list[Any] = []
    patcher.apply(rows(dummy, calls), "first")
    kept = module.Target().method
    patcher.undo()
    patcher.apply(rows(dummy, calls), "second")
    assert kept(7) == ("method", "Target", 7)
    assert calls == []


def test_a_foreign_wrapper_over_ours_survives_undo_and_ours_is_off(dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    ours: list[Any] = []
    theirs: list[Any] = []
    patcher.apply(rows(dummy, ours, "method"), "bundle")
    foreign = wrapt.FunctionWrapper(vars(module.Target)["method"], logging_to(theirs)("foreign"))
    module.Target.method = foreign
    assert module.Target().method(1) == ("method", "Target", 1)
    assert (ours, theirs) == (["bundle"], ["foreign"])
    patcher.undo()
    assert vars(module.Target)["method"] is foreign
    assert module.Target().method(2) == ("method", "Target", 2)
    assert (ours, theirs) == (["bundle"], ["foreign", "foreign"])


def test_a_foreign_wrapper_does_not_keep_us_from_coming_back(dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    calls: list[Any] = []
    patcher.apply(rows(dummy, calls, "method"), "first")
    module.Target.method = foreign = wrapt.FunctionWrapper(vars(module.Target)["method"], logging_to([])(None))
    patcher.undo()
    patcher.apply(rows(dummy, calls, "method"), "second")
    module.Target().method()
    assert calls == ["second"]
    patcher.undo()
    assert vars(module.Target)["method"] is foreign


# --- additions ---


@pytest.mark.parametrize("before", [True, False], ids=["imported-before", "imported-after"])
def test_an_addition_is_there_until_undo(before: bool, dummy: str, patcher: Patcher) -> None:
    if before:
        importlib.import_module(dummy)
    patcher.apply(
        [
            Addition(dummy, "Target.added", lambda bundle: lambda self: (bundle, type(self).__name__)),
            Addition(dummy, "Target.property", lambda bundle: property(lambda self: bundle)),
            Addition(dummy, "added", lambda bundle: bundle),
        ],
        "bundle",
    )
    module = importlib.import_module(dummy)
    assert module.Child().added() == ("bundle", "Child")
    assert (module.Target().property, module.added) == ("bundle", "bundle")
    patcher.undo()
    assert {"added", "property"} & {*vars(module.Target), *vars(module)} == set()


@pytest.mark.parametrize("rounds", [1, 3])
def test_additions_leave_their_owners_as_they_were(rounds: int, dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    before = dict(vars(module.Target)), dict(vars(module))
    for number in range(rounds):
        patcher.apply([Addition(dummy, "Target.added", lambda _: 1), Addition(dummy, "added", lambda _: 2)], number)
        patcher.undo()
        assert (dict(vars(module.Target)), dict(vars(module))) == before


@pytest.mark.parametrize("target", ["Target.method", "Child.method", "METHODS"])
def test_what_is_there_is_not_added(target: str, dummy: str, patcher: Patcher) -> None:
    """Neither over an attribute of the owner's own nor over one that it inherits."""
    module = importlib.import_module(dummy)
    module.METHODS = METHODS
    before = dict(vars(module.Target)), dict(vars(module.Child)), dict(vars(module))
    patcher.apply([Addition(dummy, target, lambda _: "ours")], None)
    during = dict(vars(module.Target)), dict(vars(module.Child)), dict(vars(module))
    patcher.undo()
    after = dict(vars(module.Target)), dict(vars(module.Child)), dict(vars(module))
    assert before == during == after


def test_what_somebody_put_over_an_addition_stays(dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    patcher.apply([Addition(dummy, "Target.added", lambda _: "ours")], None)
    module.Target.added = "theirs"
    patcher.undo()
    assert module.Target.added == "theirs"


def test_an_addition_to_what_is_not_there_is_skipped(dummy: str, patcher: Patcher) -> None:
    module = importlib.import_module(dummy)
    patcher.apply([Addition(dummy, "Absent.added", lambda _: 1), Addition(dummy, "added", lambda _: 2)], None)
    assert module.added == 2


def test_a_function_of_a_submodule_is_patched_when_its_package_is_there(patcher: Patcher) -> None:
    calls: list[Any] = []
    module = importlib.import_module("os.path")
    original = vars(module)["basename"]
    patcher.apply([Row("os", "path.basename", logging_to(calls))], "bundle")
    assert module.basename("a/b") == "b"
    patcher.undo()
    assert vars(module)["basename"] is original
    assert calls == ["bundle"]


@pytest.mark.parametrize("before", [True, False], ids=["imported-before", "imported-after"])
def test_an_arrival_is_acted_on_once_in_each_round(before: bool, dummy: str, patcher: Patcher) -> None:
    acted: list[Any] = []
    if before:
        importlib.import_module(dummy)
    for number in range(2):
        patcher.apply([Arrival(dummy, "Target.method", acted.append)], number)
        importlib.import_module(dummy)
        patcher.undo()
    patcher.apply([Arrival(dummy, "Target.absent", acted.append)], "never")
    assert acted == [0, 1]


# --- hooks ---


def test_a_module_that_another_thread_is_importing_is_patched_once(dummy: str, patcher: Patcher) -> None:
    """It is in ``sys.modules`` by then, and its hook of an earlier round has not run."""
    calls: list[Any] = []
    patcher.apply([], "the round before")
    patcher._hooked.add(dummy)
    module = importlib.import_module(dummy)
    patcher.apply([Row(dummy, "Target.method", logging_to(calls))], "this")
    patcher._hook(dummy)(module)
    module.Target().method()
    assert calls == ["this"]


def test_one_hook_waits_for_a_module_however_many_rounds(
    dummy: str, patcher: Patcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked: list[str] = []

    def register(hook: Any, name: str) -> None:
        hooked.extend({name} - sys.modules.keys())
        wrapt.register_post_import_hook(hook, name)

    monkeypatch.setattr(patching, "register_post_import_hook", register)
    calls: list[Any] = []
    for number in range(3):
        patcher.apply(rows(dummy, calls), number)
        patcher.undo()
    patcher.apply(rows(dummy, calls), "last")
    importlib.import_module(dummy).Target().method()
    patcher.undo()
    patcher.apply(rows(dummy, calls), "again")
    importlib.import_module(dummy).Target().method()
    assert hooked == [dummy]
    assert calls == ["last", "again"]


def test_a_module_that_left_and_is_imported_anew_is_patched(dummy: str, patcher: Patcher) -> None:
    """As by tests that empty ``sys.modules``."""
    calls: list[Any] = []
    importlib.import_module(dummy)
    for number in range(3):
        patcher.apply(rows(dummy, calls), number)
        importlib.import_module(dummy).Target().method()
        patcher.undo()
        del sys.modules[dummy]
    assert calls == [0, 1, 2]


# --- copies and pickles ---


@pytest.fixture
def module(dummy: str, patcher: Patcher) -> Any:
    """The dummy, patched."""
    patcher.apply(rows(dummy, []), None)
    return importlib.import_module(dummy)


def test_a_bound_method_is_pickled_and_copied_with_its_instance(module: Any, patcher: Patcher) -> None:
    method = module.Child().method
    pickled, deep, shallow = pickle.dumps(method), copy.deepcopy(method), copy.copy(method)
    assert (deep(1), shallow(2)) == (("method", "Child", 1), ("method", "Child", 2))
    assert deep.__self__ is not method.__self__
    assert shallow.__self__ is method.__self__
    patcher.undo()
    assert pickle.loads(pickled)(3) == ("method", "Child", 3)  # noqa: S301
    assert isinstance(pickle.loads(pickled), types.MethodType)  # noqa: S301


def test_an_overridden_method_is_copied_as_what_it_is(module: Any) -> None:
    rebel = copy.deepcopy(module.Rebel())
    assert rebel.inherited(1) == ("method", "Rebel", 1)
    assert rebel.inherited.__self__ is rebel


def test_a_function_of_a_module_is_pickled_and_copied_by_its_name(dummy: str, patcher: Patcher) -> None:
    patcher.apply([Row(dummy, "function", logging_to([]))], None)
    function = importlib.import_module(dummy).function
    assert isinstance(function, wrapt.FunctionWrapper)
    pickled = pickle.dumps(function)
    assert pickle.loads(pickled) is copy.copy(function) is copy.deepcopy(function) is function  # noqa: S301
    patcher.undo()
    assert isinstance(pickle.loads(pickled), types.FunctionType)  # noqa: S301


@pytest.mark.parametrize("name", METHODS)
def test_what_a_class_has_is_pickled_and_copied_by_its_name(name: str, module: Any, patcher: Patcher) -> None:
    attribute = getattr(module.Target, name)
    assert pickle.loads(pickle.dumps(attribute)) == attribute  # noqa: S301
    assert copy.copy(attribute) == attribute
    assert copy.deepcopy(attribute) == attribute
    pickled = pickle.dumps(attribute)
    patcher.undo()
    assert pickle.loads(pickled) == getattr(module.Target, name)  # noqa: S301


def test_a_module_imported_after_undo_stays_unpatched(dummy: str, patcher: Patcher) -> None:
    patcher.apply(rows(dummy, []), None)
    patcher.undo()
    module = importlib.import_module(dummy)
    assert not any(isinstance(vars(module.Target)[name], wrapt.FunctionWrapper) for name in METHODS)


def test_a_module_that_fails_to_import_fails_as_without_us(dummy: str, patcher: Patcher, tmp_path: Path) -> None:
    (tmp_path / f"{dummy}.py").write_text("raise ImportError('broken')")
    patcher.apply(rows(dummy, []), None)
    with pytest.raises(ImportError, match=r"^broken$"):
        importlib.import_module(dummy)
