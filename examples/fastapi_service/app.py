"""A service that streams a model's answers to its users as server-sent events."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast

import telemetry
from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from pydantic import BaseModel, Field

from opentelemetry_instrumentation_ailib import FeedbackCollector

MODEL = os.environ.get("AI_MODEL", "openai/gpt-4o")
BASE_URL = os.environ.get("AI_BASE_URL")  # Without it, the base URL of the provider's manifest.


@asynccontextmanager
async def lifespan(service: FastAPI) -> AsyncIterator[None]:
    """Set up what a worker has of its own. It runs in each worker, after the fork."""
    with telemetry.running() as service.state.metrics_page:
        async with await AiClient.create(MODEL, base_url=BASE_URL) as service.state.client:
            yield


app = FastAPI(title="Answers", lifespan=lifespan)
# Here, since the middleware must be in place when the lifespan begins. It finds the providers when they are there.
# Without exclude_spans every event sent to a user would be a span of its own.
FastAPIInstrumentor.instrument_app(app, excluded_urls="healthz,metrics", exclude_spans=["receive", "send"])


class Question(BaseModel):
    """What a user asks."""

    text: str


@app.post("/answers")
async def answers(question: Question, request: Request) -> StreamingResponse:
    """Stream the answer: ``delta`` events with text, and one ``done`` or ``error`` with what a rating sends back."""
    return StreamingResponse(_events(request.app.state.client, question.text), media_type="text/event-stream")


async def _events(client: AiClient, text: str) -> AsyncIterator[str]:
    stream, stats = await client.chat().user(text).stream_with_stats()
    try:
        # A user who leaves ends the stream to the provider, now and not when the garbage collector gets to it.
        async with aclosing(cast("Any", stream)) as events:
            async for event in events:
                if event.is_content_delta:
                    yield _event("delta", text=event.as_content_delta.content)
    except AiLibError as error:
        yield _event("error", type=type(error).__name__, **_reference(stats))
    else:
        yield _event("done", **_reference(stats))


def _reference(stats: Any) -> dict[str, str]:
    # What a rating sends back. The traceparent is in it because another worker, or this one after a restart, knows no
    # request by its id.
    return {"request_id": stats.request_id, "traceparent": stats.traceparent}


def _event(name: str, **data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


class Rating(BaseModel):
    """What a user thinks of an answer: what came with it, and one to five stars."""

    request_id: str
    traceparent: str
    rating: int = Field(ge=1, le=5)
    comment: str | None = None


@app.post("/ratings", status_code=204)
async def ratings(rating: Rating) -> None:
    """Record a rating in the trace in which the answer was made."""
    FeedbackCollector().record(**rating.model_dump())


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that this worker answers; it does only when its client has been created."""
    return {"status": "ok"}


@app.get("/metrics")
async def metrics(request: Request) -> Response:
    """Show the metrics of the worker that happens to answer."""
    content, content_type = request.app.state.metrics_page(request.headers.get("accept", ""))
    return Response(content, media_type=content_type)
