"""Spans as trees, the time of a stream as bars, metrics as text. Nothing in here records anything."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import Event, ReadableSpan

    Spans = Sequence[ReadableSpan]

CALL_ATTRIBUTES = (
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.time_to_first_chunk",
    "ai_lib.stream.outcome",
    "ai_lib.attempts",
    "ai_lib.fallback.model",
    "ai_lib.circuit_breaker.state",
    "error.type",
)
STAGE_ATTRIBUTES = (
    "ai_lib.protocol.source",
    "http.response.status_code",
    "http.request.resend_count",
    "ai_lib.stream.frames",
    "ai_lib.stream.events",
    "error.type",
)
"""Attributes worth a place in a tree; the spans have more."""
DISTINCT_ATTRIBUTES = ("error.type", "http.request.resend_count")
"""Attributes that keep siblings of the same name from sharing a line."""

_NAMES = 35
_EIGHTHS = " ▏▎▍▌▋▊▉"


# --- colour ---


def _paint(text: str, code: str) -> str:
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\x1b[{code}m{text}\x1b[0m" if text and wanted else text


def bold(text: str) -> str:
    """Return a text in bold, where the terminal and its owner want that."""
    return _paint(text, "1")


def _columns() -> int:
    return min(shutil.get_terminal_size((120, 24)).columns, 140)


# --- traces as trees ---


def traces(spans: Spans) -> list[Spans]:
    """Sort spans into traces, by the time at which they began."""
    found: dict[int, list[ReadableSpan]] = {}
    for span in sorted(spans, key=_start):
        found.setdefault(span.context.trace_id, []).append(span)
    return list(found.values())


def tree(spans: Spans) -> list[str]:
    """Draw a trace as a tree. Siblings of the same name share a line."""
    (root,) = (span for span in spans if span.parent is None)
    return list(_branch(spans, [root], "", ""))


def _branch(spans: Spans, group: Spans, first: str, rest: str) -> Iterator[str]:
    children = _children(spans, group)
    name = f"{first}{len(group)}x {group[0].name}" if len(group) > 1 else f"{first}{group[0].name}"
    line = f"{name:{_NAMES}}{statistics.median(map(_milliseconds, group)):9.2f} ms"
    line = line if first else bold(line)
    margin = f"{rest}│" if children else rest
    for details in _wrapped(_details(group)):
        yield f"{line}  {details}".rstrip()
        line = f"{margin:{_NAMES}}{'':12}"
    for child in children:
        last = child is children[-1]
        yield from _branch(spans, child, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _children(spans: Spans, parents: Spans) -> list[Spans]:
    ids = {parent.context.span_id for parent in parents}
    groups: dict[tuple[str, ...], list[ReadableSpan]] = {}
    for span in spans:
        if span.parent is not None and span.parent.span_id in ids:
            distinct = tuple(str(_attributes(span).get(key)) for key in DISTINCT_ATTRIBUTES)
            groups.setdefault((span.name, *distinct), []).append(span)
    return list(groups.values())


def _details(group: Spans) -> list[str]:
    """List what a line says after the duration: how a group spreads, the status, the attributes that all share."""
    first, details = group[0], []
    if len(group) > 1:
        times = [_milliseconds(span) for span in group]
        details.append(f"median ({min(times):.2f} … {max(times):.2f} ms)")
    if first.status.status_code is StatusCode.ERROR:
        details.append("ERROR")
        if first.status.description:
            details.append(f'"{first.status.description}"')
    is_call = "gen_ai.operation.name" in _attributes(first)
    for key in CALL_ATTRIBUTES if is_call else STAGE_ATTRIBUTES:
        values = {_text(_attributes(span).get(key)) for span in group}
        if len(values) == 1 and values != {""}:
            details.append(f"{key}={values.pop()}")
    if len(group) == 1:
        details += [_event(event) for event in first.events if event.name != "exception"]
    return details


def _event(event: Event) -> str:
    known = ", ".join(f"{key}={_text(value)}" for key, value in (event.attributes or {}).items())
    return f"event {event.name} ({known})"


def _wrapped(details: Sequence[str]) -> list[str]:
    width = _columns() - _NAMES - 14
    lines: list[list[str]] = [[]]
    length = 0
    for detail in details:
        if lines[-1] and length + len(detail) > width:
            lines.append([])
            length = 0
        lines[-1].append(_paint(detail, "1;31") if detail == "ERROR" else _paint(detail, "2"))
        length += len(detail) + 2
    return ["  ".join(line) for line in lines]


def _start(span: ReadableSpan) -> int:
    return span.start_time or 0


def _milliseconds(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - _start(span)) / 1e6


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    return ",".join(value) if isinstance(value, tuple) else "" if value is None else str(value)


# --- the time of a stream as bars ---


def split(spans: Spans) -> list[str]:
    """Draw where the time of a trace's stream went; nothing, if there is no stream in it."""
    streams = [span for span in spans if _attributes(span).get("gen_ai.request.stream")]
    if not streams:
        return []
    (stream,) = streams
    total = _milliseconds(stream)
    parts = {child.name: _attributes(child)["ai_lib.busy_time"] * 1000 for (child,) in _children(spans, [stream])}
    parts["the consumer"] = total - sum(parts.values())
    lines = ["   where its time went: ai_lib.busy_time of each stage, and what remains is the consumer's"]
    for name, milliseconds in parts.items():
        lines.append(f"{_share(name, milliseconds, total)}  {_paint(_bar(milliseconds / total), '36')}".rstrip())
    return [*lines, _share("together", total, total)]


def _share(name: str, milliseconds: float, total: float) -> str:
    return f"   {name:{_NAMES - 3}}{milliseconds:9.2f} ms  {100 * milliseconds / total:5.1f} %"


def _bar(share: float) -> str:
    eighths = round(8 * share * max(10, min(40, _columns() - _NAMES - 26)))
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


# --- metrics ---


def prometheus(page: str) -> str:
    """Leave the families of the runtime's calls on a page of Prometheus text, without the lines of their buckets."""
    lines = []
    for line in page.splitlines():
        name = line.split()[2] if line.startswith("#") else line
        if name.startswith(("ai_lib_", "gen_ai_")) and "_bucket{" not in line:
            lines += [""] if line.startswith("# HELP") else []
            lines.append(_paint(line, "2") if line.startswith("#") else line)
    return "\n".join(lines)
