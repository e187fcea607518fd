"""Links from a panel to the traces behind it: Grafana's Explore on a Tempo data source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from opentelemetry_instrumentation_ailib import semconv

from .catalogue import label_name

CALLS: Final = f"span.{semconv.PROVIDER_ID} != nil"
"""The spans of calls."""

FAILED: Final = f"span.{semconv.ERROR_TYPE} != nil"
"""Spans that failed."""

# The attribute of a call's span that a label comes from. Some labels come from none.
_ATTRIBUTES: Final = {
    semconv.LABEL_PROVIDER: semconv.PROVIDER_ID,
    semconv.LABEL_MODEL: semconv.REQUEST_MODEL,
    semconv.LABEL_OPERATION: semconv.OPERATION_NAME,
    semconv.LABEL_OUTCOME: semconv.STREAM_OUTCOME,
    **{
        label_name(attribute): attribute
        for attribute in (semconv.PROVIDER_NAME, semconv.REQUEST_MODEL, semconv.OPERATION_NAME)
    },
}


def has(attribute: str, test: str) -> str:
    """Return a condition of TraceQL on an attribute of a span, such as ``> 0``."""
    return f"span.{attribute} {test}"


def url(conditions: Sequence[str], labels: Sequence[str] = (), also: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the address of the traces behind a series.

    Args:
        conditions: Conditions of TraceQL that a span has to meet.
        labels: The labels of the series: their values are conditions, too, where spans have them.
        also: Attributes of labels that mean one thing in this panel and another elsewhere.
    """
    attributes = {**_ATTRIBUTES, **also}
    of_series = [f'span.{attributes[label]} = "${{__field.labels.{label}}}"' for label in labels if label in attributes]
    query = f"{{ {' && '.join([*conditions, *of_series])} }}"
    pane = {
        "datasource": "${tempo}",
        "queries": [
            {
                "refId": "A",
                "datasource": {"type": "tempo", "uid": "${tempo}"},
                "queryType": "traceql",
                "query": query,
                "limit": 20,
            }
        ],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    # What Grafana fills in must stay legible to it.
    panes = quote(json.dumps({"traces": pane}, separators=(",", ":")), safe="${}:,._")
    return f"/explore?schemaVersion=1&panes={panes}"
