"""What generated scenarios have found, each as small as it gets."""

from __future__ import annotations

from dataclasses import replace

from answers import Answer
from calls import Plan
from checks import check
from consumers import EXECUTE
from frames import UNIT
from play import play
from policies import Policy
from test_planted_faults import SCENARIO
from values import SECRET


def test_a_credential_in_the_messages_of_a_call_that_never_gets_to_a_request() -> None:
    empty = Policy(rate_limit={"requests_per_second": 1 / UNIT, "initial_tokens": 0})
    waiting = Plan(EXECUTE, prompt=f"Is it {SECRET}?", cancel_at=UNIT / 2)
    check(play(replace(SCENARIO, plans=(waiting,), policy=empty)))


def test_the_last_frame_of_a_stream_that_breaks() -> None:
    broken = Answer(chunks=(b"data: {}\n\n", "ReadError"))
    check(play(replace(SCENARIO, answers=(broken,), plans=(Plan("read"),))))


def test_an_answer_too_deep_to_parse_says_the_same_of_its_provider_whoever_listens() -> None:
    deep = Answer(body=(b"[" * 100_000,))
    check(play(replace(SCENARIO, answers=(deep,), plans=(Plan(EXECUTE),))))


def test_an_error_message_that_abbreviates_the_credential_it_quotes() -> None:
    quoting = Answer(chunks=(b'data: {"choices": [], "usage": "You sent ' + SECRET.encode() + b'!"}\n\n',))
    check(play(replace(SCENARIO, answers=(quoting,), plans=(Plan("read"),))))
