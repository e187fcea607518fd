"""The search for secrets finds what is exported of one: anywhere, in any form, and in part."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.trace import Status, StatusCode

from leaks import WINDOW, Exported, holds
from recorder import Recorder

SECRET = "pl/Zq7+mK2vW9=xR4tY&8uJ3nB~6hG5_fD1.sA0c"


def as_span_attribute(recorder: Recorder, text: str) -> None:
    recorder.tracer_provider.get_tracer("t").start_span("s", attributes={"a": ["x", text]}).end()


def as_span_name(recorder: Recorder, text: str) -> None:
    recorder.tracer_provider.get_tracer("t").start_span(text).end()


def as_status(recorder: Recorder, text: str) -> None:
    span = recorder.tracer_provider.get_tracer("t").start_span("s")
    span.set_status(Status(StatusCode.ERROR, text))
    span.end()


def as_span_event(recorder: Recorder, text: str) -> None:
    span = recorder.tracer_provider.get_tracer("t").start_span("s")
    span.record_exception(ValueError(text))
    span.end()


def as_label(recorder: Recorder, text: str) -> None:
    recorder.meter_provider.get_meter("t").create_counter("c").add(1, {"a": text})


def as_event(recorder: Recorder, text: str) -> None:
    recorder.logger_provider.get_logger("t").emit(LogRecord(event_name="e", attributes={"a": {"b": [text]}}))


def as_log_message(recorder: Recorder, text: str) -> None:
    logging.getLogger("ai_lib.frame").log(5, "%s", text)


def as_log_field(recorder: Recorder, text: str) -> None:
    logging.getLogger("ai_lib.request").info("done", extra={"ai_lib.a": text})


def as_traceback(recorder: Recorder, text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("opentelemetry_instrumentation_ailib.guard").info("fault", exc_info=True)


PLACES = [
    as_span_attribute,
    as_span_name,
    as_status,
    as_span_event,
    as_label,
    as_event,
    as_log_message,
    as_log_field,
    as_traceback,
]
FORMS = {
    "as it is": SECRET,
    "in a text": f"Bearer {SECRET}.",
    "in a URL": f"http://x.example/?key={quote(SECRET, safe='')}&alt=sse",
    "in a URL, in small letters": quote(SECRET, safe="").lower(),
    "in a form": quote_plus(SECRET),
    "in JSON": json.dumps({"key": SECRET}),
    "in JSON in JSON": json.dumps(json.dumps({"key": SECRET})),
    "in base64": base64.b64encode(SECRET.encode()).decode(),
    "in base64, behind a name": base64.b64encode(f"user:{SECRET}".encode()).decode(),
    "in base64 for URLs": base64.urlsafe_b64encode(f"me:{SECRET}".encode()).decode(),
    "in hexadecimal": SECRET.encode().hex(),
    "its beginning": SECRET[: 2 * WINDOW],
    "its middle": SECRET[7:][: 2 * WINDOW],
    "its end": SECRET[-2 * WINDOW :],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_found_wherever_it_is_exported(recorder: Recorder, place: Callable[[Recorder, str], None]) -> None:
    exported = Exported(recorder)
    with exported.logs():
        place(recorder, "nothing of the kind")
        assert exported.leaks(SECRET) == []
        place(recorder, f"Bearer {SECRET}")
        leaks = exported.leaks(SECRET)

    # As text and as OTLP sends it, at the least.
    assert len(leaks) >= 3
    assert any(leak.startswith("OTLP") and "as JSON" not in leak for leak in leaks)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_found_in_any_form(recorder: Recorder, form: str) -> None:
    as_span_attribute(recorder, form)
    assert len(Exported(recorder).leaks(SECRET)) >= 3


@pytest.mark.parametrize("secret", ["a b'c\"d\\e\nf+g/h=i%j&k<l", 'plZq7mK2vW9éxR4tY8uJ3nB"6hG5fD1sA0c'])
def test_a_secret_of_odd_characters_is_found_in_any_form(recorder: Recorder, secret: str) -> None:
    for form in (secret, repr(secret), ascii(secret), json.dumps(secret), json.dumps([json.dumps(secret)])):
        assert holds(form.encode(), secret)
        as_status(recorder, form)
        assert Exported(recorder).leaks(secret) != []
        recorder.clear()
    assert not holds(b"nothing of the kind", secret)
