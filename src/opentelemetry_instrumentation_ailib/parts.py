"""Content blocks and tool calls, in whichever provider's shape, as the parts that the GenAI conventions define.

Everything takes what comes: wrong types and shapes yield less, never an error. Nothing is cut, copied or decoded here:
what leaves the process of it is up to ``fitting``.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.util.genai.types import (
    BlobPart,
    FilePart,
    GenericPart,
    MessagePart,
    Modality,
    ReasoningPart,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
    UriPart,
)

from opentelemetry_instrumentation_ailib import naming
from opentelemetry_instrumentation_ailib.shortened import MAX_ITEMS, converted

PART_CHARACTERS: Final = 16_384
"""How much leaves the process of one text, so that a document in a prompt leaves room for the question about it."""

DIRECTION_CHARACTERS: Final = 65_536
"""How much leaves of the inputs, of the outputs, of the system instructions and of the tools of a call, of each.

A receiver refuses an OTLP request of more than 4 MiB, and with it every span that happens to be in the same batch. In
the JSON of a span a character takes up to 12 bytes (an emoji does), so that the four come to 3 MiB at worst.
"""

_QUERY: Final = re.compile(r"[?#]")
_DATA_URL: Final = re.compile(r"\s{0,16}data:", re.IGNORECASE)
_MAX_DATA_URL_HEADER: Final = 256


@dataclass
class OmittedBlob(BlobPart):
    """A blob of which only the kind and the size are told: the data itself would push everything else out.

    The conventions require ``content`` of a blob part, which is empty here, and allow properties besides.

    Attributes:
        size: Bytes.
    """

    size: int = 0


class Truncated(str):
    """The beginning of a text whose end was not kept.

    Attributes:
        left_out: How many characters the end had.
    """

    __slots__ = ("left_out",)
    left_out: int


def get(source: Any, *names: str) -> Any:
    """Return the first of some members, of a mapping or an object, that is there and not ``None``."""
    try:
        # An attribute that a model of pydantic's lacks takes it two microseconds to look for.
        members = source if isinstance(source, Mapping) else source.__dict__
        for name in names:
            value = members.get(name)
            if value is not None:
                return value
    except Exception:
        return None
    return None


def string(value: Any) -> str | None:
    """Return a string, or ``None`` for anything else and for an empty one."""
    return value if isinstance(value, str) and value else None


def items(value: Any) -> Sequence[Any]:
    """Return a list or a tuple, or nothing for anything else: iterators are their owner's to consume."""
    return value if isinstance(value, (list, tuple)) else ()


def parts(content: Any) -> list[MessagePart]:
    """Return the parts of a message's content: a text, a content block or a list of either."""
    blocks = (content,) if isinstance(content, (str, Mapping)) else items(content)
    return converted(_part, blocks)


def tool_call(call: Any) -> ToolCallRequestPart:
    """Return a tool call of the runtime's (``ToolCall``), of OpenAI's, Anthropic's or Gemini's shape."""
    function = get(call, "function") or call
    arguments = get(function, "arguments", "input", "args")
    # The runtime makes {} of arguments that are no JSON, and keeps them besides.
    raw = None if arguments else get(call, "arguments_raw")
    return ToolCallRequestPart(
        arguments=parsed(arguments if raw is None else raw),
        name=string(get(function, "name", "function_name")) or "",
        id=string(get(call, "id", "call_id")),
    )


def parsed(arguments: Any) -> Any:
    """Return what arguments in JSON say; those that are long, broken or incomplete stay a text."""
    if isinstance(arguments, str) and not isinstance(arguments, Truncated) and len(arguments) <= PART_CHARACTERS:
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(arguments)
    return arguments


def tool_result(content: Any, call_id: Any) -> ToolCallResponsePart:
    """Return the result of a tool call; of content blocks in it, the parts, so that images are left out there too."""
    blocks = items(content)
    if blocks and all(_kind(block) in _PLAIN for block in blocks[:MAX_ITEMS]):
        content = parts(blocks)
    return ToolCallResponsePart(response=content, id=string(call_id))


def _kind(block: Any) -> str | None:
    return string(get(block, "type"))


def _part(block: Any) -> MessagePart | None:
    if isinstance(block, str):
        return _text(block)
    kind = _kind(block)
    if kind is not None:
        build = _BLOCKS.get(kind)
        # What a block of another kind holds is not known, but that it is there.
        return build(block) if build is not None else GenericPart(type=kind)
    for name, build in _GEMINI_PARTS.items():
        if (value := get(block, name)) is not None:
            return _reasoning(value) if get(block, "thought") is True else build(value)
    return None


def _text(value: Any) -> MessagePart | None:
    return TextPart(content=value) if string(value) else None


def _reasoning(value: Any) -> MessagePart | None:
    if isinstance(value, (list, tuple)):
        value = _together([text for each in value[:MAX_ITEMS] if (text := string(get(each, "text"))) is not None])
    return ReasoningPart(content=value) if string(value) else None


def _together(texts: Sequence[str]) -> str:
    # More than a part holds is not put together: it would be left out in any case.
    room, kept = PART_CHARACTERS, []
    for text in texts:
        kept.append(text[: max(room, 0)])
        room -= len(text)
    whole = Truncated("".join(kept))
    whole.left_out = max(-room, 0)
    return whole if room < 0 else str(whole)


def _media(source: Any, modality: Modality | None = None) -> MessagePart | None:
    """Return the part for an image, a sound or a document: a reference, or what can be told of its data."""
    if isinstance(source, str):
        source = {"url": source}
    kind = get(source, "source_type", "type")
    sound = _short(get(source, "format"))
    mime_type = _short(get(source, "media_type", "mime_type", "mimeType")) or (sound and f"audio/{sound}")
    data, location = get(source, "data", "file_data"), string(get(source, "url", "uri", "fileUri", "file_uri"))
    if kind == "text":
        return _text(data)
    if kind == "url":
        location, data = location or string(data), None
    if location is not None and _DATA_URL.match(location):
        location, data = None, location
    if location is not None:
        return UriPart(mime_type=mime_type, modality=_modality(modality, mime_type), uri=_location(location))
    if file_id := string(get(source, "file_id")):
        return FilePart(mime_type=mime_type, modality=_modality(modality, mime_type), file_id=file_id)
    return _blob(data, mime_type, modality) if data else None


def _blob(data: Any, mime_type: str | None, modality: Modality | None) -> MessagePart | None:
    if not isinstance(data, (str, bytes, bytearray)):
        return None
    size, base64 = len(data), isinstance(data, str)
    if isinstance(data, str) and (scheme := _DATA_URL.match(data)):
        header = data[:_MAX_DATA_URL_HEADER].partition(",")[0]
        mime_type = header[scheme.end() :].partition(";")[0] or mime_type
        size, base64 = max(size - len(header) - 1, 0), header.lower().endswith(";base64")
    if isinstance(data, str) and base64:
        size = size * 3 // 4 - data[-2:].count("=")
    return OmittedBlob(mime_type=mime_type, modality=_modality(modality, mime_type), content=b"", size=max(size, 0))


def _modality(known: Modality | None, mime_type: str | None) -> str:
    kind = (mime_type or "").partition("/")[0].lower()
    modality = known or {"image": Modality.IMAGE, "audio": Modality.AUDIO, "video": Modality.VIDEO}.get(kind)
    return (modality or Modality.DOCUMENT).value


def _short(name: Any) -> str | None:
    return (string(name) or "")[:_MAX_DATA_URL_HEADER] or None


def _location(url: str) -> str:
    """Take out of a location what may be a credential: the user, and the query, in which signed URLs carry theirs."""
    return naming.USER.sub("//", _QUERY.split(url, maxsplit=1)[0])


def _media_of(modality: Modality | None, *names: str) -> Callable[[Any], MessagePart | None]:
    return lambda block: _media(get(block, *names) or block, modality)


# The blocks that hold no other block.
_PLAIN: Final[dict[str, Callable[[Any], MessagePart | None]]] = {
    **dict.fromkeys(("text", "input_text", "output_text"), lambda block: _text(get(block, "text"))),
    "refusal": lambda block: _text(get(block, "refusal")),
    "image": _media_of(Modality.IMAGE, "source"),
    "audio": _media_of(Modality.AUDIO, "source"),
    "video": _media_of(Modality.VIDEO, "source"),
    "document": _media_of(Modality.DOCUMENT, "source"),
    **dict.fromkeys(("image_url", "input_image"), _media_of(Modality.IMAGE, "image_url")),
    "video_url": _media_of(Modality.VIDEO, "video_url"),
    "input_audio": _media_of(Modality.AUDIO, "input_audio"),
    **dict.fromkeys(("file", "input_file"), _media_of(Modality.DOCUMENT, "file")),
}
_BLOCKS: Final[dict[str, Callable[[Any], MessagePart | None]]] = {
    **_PLAIN,
    "thinking": lambda block: _reasoning(get(block, "thinking")),
    "tool_use": tool_call,
    "tool_result": lambda block: tool_result(get(block, "content"), get(block, "tool_use_id")),
}
# Gemini's blocks have no type; what they are is what they have.
_GEMINI_PARTS: Final[dict[str, Callable[[Any], MessagePart | None]]] = {
    "text": _text,
    **dict.fromkeys(("inlineData", "inline_data", "fileData", "file_data"), _media),
    **dict.fromkeys(("functionCall", "function_call"), tool_call),
    **dict.fromkeys(
        ("functionResponse", "function_response"),
        lambda value: ToolCallResponsePart(response=get(value, "response"), id=string(get(value, "id", "name"))),
    ),
}
