"""The bodies of streams: frames of some dialect, whole or not, cut into chunks anywhere, with waits and a bad end."""

from __future__ import annotations

from typing import Any

from bodies import TOOL_CALLS, encoded
from hypothesis import strategies as st
from values import JUNK, TEXTS, USAGES, mostly, optional

UNIT = 1000.0
"""Seconds of the shortest wait: so many that the work between two waits, on any machine, is nothing in comparison."""

FAULTS = ("ReadError", "ReadTimeout", "RemoteProtocolError")
"""The exceptions of httpx that end a body."""

Chunks = tuple[bytes | float | str, ...]
"""Bytes, seconds to wait, or the name of the exception that ends it all."""

_CONTENT = st.sampled_from(["Hel", "lo", " world"])
_DELTA = optional(content=mostly(_CONTENT), reasoning_content=mostly(TEXTS), tool_calls=mostly(TOOL_CALLS))
_CHOICE = optional(index=st.integers(0, 1), delta=mostly(_DELTA), finish_reason=mostly(st.none() | TEXTS))
_SAID = st.builds(lambda text: {"choices": [{"index": 0, "delta": {"content": text}}]}, _CONTENT)
_OPENAI = _SAID | optional(
    id=mostly(TEXTS), model=mostly(TEXTS), choices=mostly(st.lists(_CHOICE, max_size=2)), usage=mostly(USAGES)
)
_BLOCKS = mostly(
    optional(
        type=st.sampled_from(["text", "text_delta", "thinking_delta", "tool_use", "input_json_delta", "novelty"]),
        text=mostly(_CONTENT),
        thinking=mostly(_CONTENT),
        partial_json=mostly(st.sampled_from(['{"a":', "1}"])),
        id=mostly(st.just("call-1")),
        name=mostly(st.just("add")),
        stop_reason=mostly(TEXTS),
    )
)
_TYPES = st.sampled_from(
    [
        *("message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop", "ping", "error", "novelty"),
    ]
)
_ANTHROPIC = st.fixed_dictionaries(
    {"type": mostly(_TYPES)},
    optional={
        "index": mostly(st.integers(0, 1)),
        "content_block": _BLOCKS,
        "delta": _BLOCKS,
        "message": mostly(optional(id=mostly(TEXTS), model=mostly(TEXTS), usage=mostly(USAGES))),
        "usage": mostly(USAGES),
        "error": JUNK,
    },
)
_PARTS = optional(parts=mostly(st.lists(optional(text=mostly(_CONTENT)), max_size=2)))
_GEMINI = optional(
    responseId=mostly(TEXTS),
    modelVersion=mostly(TEXTS),
    candidates=mostly(st.lists(optional(content=_PARTS, finishReason=TEXTS), max_size=2)),
    usageMetadata=mostly(USAGES),
)
_DIALECTS = {"openai": _OPENAI, "anthropic": _ANTHROPIC, "gemini": _GEMINI}
DIALECTS = tuple(_DIALECTS)
"""The providers whose frames these may look like."""

_WIRES: dict[str, bytes] = {"sse": b"data: %s\n\n", "typed": b"event: x\ndata: %s\n\n", "lines": b"%s\n"}
WIRES = tuple(_WIRES)
"""How frames are set apart: as events, as events with a type, as lines."""

_NOISE = st.sampled_from(
    [
        *(
            b": ping\n\n",
            b"data: {\n\n",
            b"data: \n\n",
            b"\xff\xfe\n\n",
            b"{\n",
            b"data: [1]\n\n",
            b"\r\n\r\n",
            b"<html>",
        ),
        *(b"data: " + b"[" * 20_000 + b"\n\n", b'data: {"choices": "' + b"x" * 70_000 + b'"}\n\n', b"data: null\n\n"),
    ]
)
_ENDS = st.sampled_from(
    [b"", b"", b"data: [DONE]\n\n", b"data: [DONE]\n\n", b"data: [DONE]", b"data: END\n\n", b"data: {"]
)


@st.composite
def streams(draw: st.DrawFn, dialect: str, wire: str) -> Chunks:
    """Draw what a provider sends of a stream."""
    usual = mostly(_DIALECTS[dialect], st.one_of(*_DIALECTS.values(), JUNK)).map(lambda it: _WIRES[wire] % encoded(it))
    whole = b"".join(draw(st.lists(mostly(usual, _NOISE), max_size=5))) + draw(_ENDS)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    chunks: list[Any] = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    for place in draw(st.lists(st.integers(0, len(chunks)), max_size=2)):
        chunks.insert(place, UNIT)
    return (*chunks, *draw(mostly(st.just([]), st.sampled_from(FAULTS).map(lambda fault: [fault]))))
