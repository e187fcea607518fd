"""Names that come from outside are so many labels, and one more for all others."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from opentelemetry_instrumentation_ailib.cardinality import (
    MAX_ERROR_TYPES,
    MAX_MODELS,
    MAX_PROVIDERS,
    Bounded,
    Labels,
)
from opentelemetry_instrumentation_ailib.naming import KNOWN_TYPES, identity

OTHER = "_OTHER"
MANY = 10_000


def test_the_first_values_are_admitted_for_good_and_no_others() -> None:
    bounded = Bounded(3)
    assert [bounded.label(each) for each in "abcdabce"] == [*"abc", OTHER, *"abc", OTHER]


def test_ten_thousand_values_take_the_room_of_the_first() -> None:
    bounded = Bounded(100)
    assert len({bounded.label(f"model-{number}") for number in range(MANY)}) == 101
    tracemalloc.start()
    for number in range(MANY):
        bounded.label(f"other-{number}")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000


def test_threads_admit_one_too_many_each_at_the_most() -> None:
    bounded, admitted = Bounded(100), [0] * 8

    def admit(thread: int) -> None:
        admitted[thread] = sum(bounded.admits((thread, number)) for number in range(1_000))

    threads = [threading.Thread(target=admit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 100 <= sum(admitted) < 108


def labels_of(each: Callable[[Labels, int], Any]) -> set[Any]:
    labels = Labels()
    return {tuple(each(labels, number).items()) for number in range(MANY)}


@pytest.mark.parametrize(
    ("each", "most"),
    [
        (lambda labels, number: labels.model("p", f"m-{number}"), MAX_MODELS + 1),
        (lambda labels, number: labels.model(f"p-{number}", "m"), MAX_PROVIDERS + MAX_MODELS + 1),
        (lambda labels, number: labels.model(f"p-{number % 200}", f"m-{number}"), MAX_PROVIDERS + MAX_MODELS + 1),
        (lambda labels, number: labels.load(f"p-{number}", f"m-{number}"), MAX_MODELS + 1),
        (lambda labels, number: labels.load(f"p-{number}", None), MAX_MODELS + 1),
        (lambda labels, number: labels.turn(f"p/{number}", f"p/{number + 1}"), MAX_MODELS + 1),
        (lambda labels, number: {"answer": labels.answer(f"m-{number}")}, MAX_MODELS + 1),
        (lambda labels, number: {"type": labels.error(f"E{number}")}, MAX_ERROR_TYPES + 1),
        (
            lambda labels, number: labels.conventions(identity("chat", f"p-{number}", "m", f"http://h-{number}/v1")),
            MAX_PROVIDERS + MAX_MODELS + 1,
        ),
    ],
    ids=["models", "providers", "both", "loads", "loads of providers", "turns", "answers", "errors", "identities"],
)
def test_ten_thousand_names_are_so_many_series(each: Callable[[Labels, int], Any], most: int) -> None:
    assert MAX_PROVIDERS < len(labels_of(each)) <= most


def test_a_model_that_is_a_label_stays_one() -> None:
    labels = Labels()
    first = labels.model("openai", "gpt-4o")
    for number in range(MANY):
        labels.model("openai", f"m-{number}")
    assert labels.model("openai", "gpt-4o") == first == {"provider": "openai", "model": "gpt-4o"}
    assert labels.model("openai", "new") == {"provider": "openai", "model": OTHER}


def test_models_of_one_name_are_told_apart_by_their_providers() -> None:
    labels = Labels()
    for number in range(MAX_MODELS - 1):
        labels.model("a", f"m-{number}")
    assert [labels.model(provider, "m-0")["model"] for provider in "abc"] == ["m-0", "m-0", OTHER]


def test_what_could_not_be_loaded_takes_no_room_from_what_is_called() -> None:
    labels = Labels()
    for number in range(MANY):
        labels.load(f"p-{number}", f"m-{number}")
    assert labels.load("openai", "gpt-4o") == {"provider": OTHER, "model": OTHER}
    assert labels.model("openai", "gpt-4o") == {"provider": "openai", "model": "gpt-4o"}


def test_error_types_that_are_known_stay_so_and_take_no_room_from_others() -> None:
    labels = Labels()
    assert {labels.error(kind) for kind in KNOWN_TYPES} == KNOWN_TYPES
    made = [labels.error(f"E{number}") for number in range(MANY)]
    assert made == [*(f"E{number}" for number in range(MAX_ERROR_TYPES)), *[OTHER] * (MANY - MAX_ERROR_TYPES)]
    assert {labels.error(kind) for kind in KNOWN_TYPES} == KNOWN_TYPES
