"""Manifests of providers: those of the dialects that frames come in, with everything else about them open."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from values import JUNK, mostly, optional

TOKEN = "FUZZED_TOKEN"
"""The environment variable that has the credential."""

_PATHS = st.sampled_from(
    [
        *(
            "choices[0].delta.content",
            "choices[0].message.content",
            "$.choices[*].delta.content",
            "delta.text",
            "usage",
        ),
        *("$.choices[*].delta.tool_calls[*].id", "usageMetadata", "choices[0].finish_reason", "error", "type", "index"),
        *("candidates[0].content.parts[0].text", "message.usage", "$", "", "choices[*", "a..b", "choices[9].x"),
    ]
)
_SELECTORS = st.sampled_from(
    [
        *(
            "exists($.choices)",
            "exists($.choices) || exists($.error)",
            "$.type == 'content_block_delta'",
            "$.type != 'x'",
        ),
        *(
            "exists($.type) && exists($.delta)",
            "$.usage != null",
            "exists($.nothing)",
            "exists((",
            "$.choices",
            "||",
            "",
        ),
    ]
)
_EVENTS = st.sampled_from(
    [
        *("PartialContentDelta", "ThinkingDelta", "ToolCallStarted", "PartialToolCall", "ToolCallEnded", "Metadata"),
        *("FinalCandidate", "StreamEnd", "StreamError", "Novelty"),
    ]
)
_FIELDS = st.dictionaries(
    st.sampled_from(
        ["content", "thinking", "tool_call_id", "tool_name", "arguments", "usage", "finish_reason", "index"]
    ),
    _PATHS,
    max_size=3,
)
_RULE = st.fixed_dictionaries({"match": _SELECTORS, "emit": _EVENTS}, optional={"fields": _FIELDS, "extract": _FIELDS})
_DECODERS = {
    "sse": optional(
        format=st.sampled_from(["sse", "SSE", "novelty"]),
        delimiter=mostly(st.just("\n\n"), st.sampled_from(["\n", "\r\n\r\n", "}", ""])),
        prefix=mostly(st.just("data: "), st.sampled_from(["data:", ""])),
        done_signal=mostly(st.just("[DONE]"), st.sampled_from(["END", ""])),
    ),
    "typed": st.just({"format": "anthropic_sse"}),
    "lines": optional(format=st.sampled_from(["json_lines", "ndjson"]), delimiter=st.just("\n")),
}
_STRATEGIES = {"openai": "openai_chat", "anthropic": "anthropic_event_stream", "gemini": "gemini_generate"}


@st.composite
def _streaming(draw: st.DrawFn, dialect: str, wire: str) -> Any:
    strategy = mostly(st.just(_STRATEGIES[dialect]), st.sampled_from(["", "novelty", *_STRATEGIES.values()]))
    decoder = draw(_DECODERS[wire]) | draw(optional(strategy=strategy))
    said = {"candidates": "candidates[0].content.parts[0].text"}.get(dialect, "choices[0].delta.content")
    return {"decoder": decoder} | draw(
        optional(
            frame_selector=mostly(st.just("exists($.choices) || exists($.type)"), _SELECTORS),
            candidate=optional(candidate_id_path=_PATHS, fan_out=st.booleans()),
            accumulator=optional(stateful_tool_parsing=st.booleans(), key_path=_PATHS, flush_on=_SELECTORS),
            event_map=st.lists(_RULE, max_size=3),
            stop_condition=_SELECTORS,
            content_path=mostly(st.just(said), _PATHS),
            tool_call_path=_PATHS,
            usage_path=_PATHS,
            extra_metadata_path=_PATHS,
        )
    )


AUTHS = st.sampled_from(
    [
        {"type": "bearer"},
        {"type": "query_param", "param_name": "key"},
        {"type": "custom_header", "header_name": "x-key"},
        {"type": "api_key"},
        {"type": "bearer", "prefix": "Token"},
        {"type": "novelty"},
    ]
)
_CLASSES = st.sampled_from(["rate_limited", "server_error", "invalid_request", "novelty", "overloaded"])
_ENDPOINTS = st.sampled_from([{}, {"chat": {"path": "/chat", "method": "POST"}}, {"chat": {"path": "chat?x=1"}}])
_REST = optional(
    protocol_version=st.sampled_from(["1.0", "1.5", "2.0", "2.1-beta"]),
    name=st.just("Fuzzed"),
    status=st.sampled_from(["stable", "novelty"]),
    capabilities=st.sampled_from([["streaming", "tools"], {"streaming": False}, {"required": ["text"]}, {}]),
    response_paths=optional(
        content=_PATHS, usage=_PATHS, finish_reason=_PATHS, tool_calls=_PATHS, reasoning_content=_PATHS
    ),
    parameter_mappings=st.dictionaries(
        st.sampled_from(["stream", "messages", "max_tokens"]), st.just("it"), max_size=1
    ),
    error_classification=optional(by_http_status=st.dictionaries(st.sampled_from(["429", "500", "200"]), _CLASSES)),
    retry_policy=optional(strategy=st.just("exponential_backoff"), max_retries=st.integers(0, 2)),
    rate_limit_headers=optional(retry_after=st.just("retry-after")),
    termination=optional(source_field=_PATHS, mapping=st.dictionaries(st.just("stop"), st.just("end_turn"))),
    tooling=optional(tool_use=optional(id_path=_PATHS, name_path=_PATHS, input_path=_PATHS)),
    features=st.just({"x": 1}),
    capability_profile=st.just({"phase": "ios_v1", "inputs": []}),
)
# Not "auth": a provider that gets no credential has none to quote.
_KEYS = ("id", "endpoint", "streaming", "capabilities", "response_paths", "error_classification", "novelty")


@st.composite
def manifests(draw: st.DrawFn, dialect: str, wire: str) -> dict[str, Any]:
    """Draw a manifest as it stands in a file."""
    auth = {**draw(AUTHS), "token_env": TOKEN}
    endpoint: dict[str, Any] = {"base_url": "http://elsewhere.example/v1"}
    inside = draw(st.booleans())
    streaming = draw(mostly(_streaming(dialect, wire), st.sampled_from([None, {}, {"event_map": []}])))
    return {
        "id": draw(mostly(st.sampled_from(["fuzzed", "openai", "azure"]), st.sampled_from(["é" * 300, "", "a/b"]))),
        "endpoint": {**endpoint, "auth": auth} if inside else endpoint,
        **({} if inside else {"auth": auth}),
        "endpoints": draw(_ENDPOINTS),
        **({} if streaming is None else {"streaming": streaming}),
        **draw(_REST),
        **draw(mostly(st.just({}), st.dictionaries(st.sampled_from(_KEYS), JUNK, max_size=1))),
    }
