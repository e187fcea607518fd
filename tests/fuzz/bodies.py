"""The bodies of answers that come whole: in the shape of some provider, of any other shape, or no JSON at all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from values import JUNK, TEXTS, USAGES, mostly, optional

TOOL_CALLS = st.lists(
    mostly(
        optional(
            id=mostly(st.just("call-1")),
            type=st.just("function"),
            index=mostly(st.integers(0, 1)),
            function=mostly(
                optional(name=mostly(st.just("add")), arguments=mostly(st.sampled_from(['{"a":', "1}", "{}"])))
            ),
        )
    ),
    max_size=2,
)
_MESSAGE = optional(
    role=st.just("assistant"), content=TEXTS | JUNK, reasoning_content=mostly(TEXTS), tool_calls=mostly(TOOL_CALLS)
)
_CHOICE = optional(index=st.integers(0, 1), message=mostly(_MESSAGE), finish_reason=mostly(TEXTS))
_OPENAI = optional(id=mostly(TEXTS), model=mostly(TEXTS), choices=mostly(st.lists(_CHOICE, max_size=2)), usage=USAGES)
_BLOCK = optional(
    type=st.sampled_from(["text", "tool_use", "thinking"]),
    text=mostly(TEXTS),
    id=mostly(st.just("call-1")),
    name=mostly(st.just("add")),
    input=mostly(optional(a=JUNK)),
)
_ANTHROPIC = optional(
    id=mostly(TEXTS),
    model=mostly(TEXTS),
    content=mostly(st.lists(mostly(_BLOCK), max_size=2)),
    stop_reason=mostly(TEXTS),
    usage=USAGES,
)
_PARTS = st.lists(mostly(optional(text=mostly(TEXTS))), max_size=2)
_GEMINI = optional(
    responseId=mostly(TEXTS),
    modelVersion=mostly(TEXTS),
    candidates=mostly(st.lists(optional(content=optional(parts=_PARTS), finishReason=TEXTS), max_size=2)),
    usageMetadata=USAGES,
)
_ERROR = optional(error=mostly(optional(message=mostly(TEXTS), type=mostly(TEXTS), code=JUNK)), request_id=JUNK)


def encoded(value: Any) -> bytes:
    """Return a value as JSON, with numbers and texts in it that JSON or UTF-8 do not allow."""
    return json.dumps(value).encode()


_BROKEN = st.sampled_from([b"", b"<html>Bad gateway</html>", b"\xff\xfe", b'{"id": "\xff"}', b'{"id": ', b"[" * 20_000])
BODIES = mostly(
    st.one_of(_OPENAI, _OPENAI, _ANTHROPIC, _GEMINI, _ERROR, JUNK).map(encoded), st.one_of(_BROKEN, st.binary())
)
"""Bodies, as bytes."""

REFUSALS = mostly(mostly(_ERROR).map(encoded), st.one_of(_BROKEN, st.binary()))
"""Bodies of answers that refuse."""
