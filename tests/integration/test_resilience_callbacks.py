"""Callbacks of retries: those of the user still get their calls, and other executors get none of ours."""

from __future__ import annotations

from typing import Any

import pytest
from ai_lib_python.errors import RemoteError
from ai_lib_python.resilience import (
    ResilientConfig,
    ResilientExecutor,
)

from provider import body, completion
from recorder import Recorder
from resilient import (  # noqa: F401 - a fixture
    COMPILE,
    GPT,
    PARSE,
    Seconds,
    fast,
    measured,
    operation,
    own_components,
    point,
    points,
    refusal,
    retried,
    seen,
    served,
    transport,
)

CHAT = {**GPT, "operation": "chat"}


# --- callbacks of the user's ---


class Listening(ResilientExecutor):
    """An executor of the user's own that listens to its retries."""

    def __init__(self, on_retry: Any, *, keyword: bool) -> None:
        super().__init__(ResilientConfig(retry=fast()), name="listening")
        self.heard = {"on_retry": on_retry} if keyword else on_retry
        self.keyword = keyword

    _retry: Any

    async def _execute_with_retry(self, operation: Any, on_retry: Any = None) -> Any:
        arguments, named = ((), self.heard) if self.keyword else ((self.heard,), {})
        result = await self._retry.execute(operation, *arguments, **named)
        if result.error is not None:
            raise result.error
        return result.value


@pytest.mark.parametrize("keyword", [False, True])
async def test_a_users_callback_gets_its_calls(instrumented: Recorder, keyword: bool) -> None:
    heard: list[tuple[int, str, float]] = []
    async with served(refusal(503), refusal(429), body(completion())) as (_, ai):
        ai._executor = Listening(lambda n, error, delay: heard.append((n, str(error), delay)), keyword=keyword)
        assert (await ai.chat().user("Hello?").execute()).content == "Hello"

    assert heard == [(1, "No. [remote]", 0.004), (2, "No. [remote]", 0.008)]
    assert seen(instrumented)[1].events == [retried(1, 0.004, "overloaded"), retried(2, 0.008, "rate_limited")]


@pytest.mark.parametrize("keyword", [False, True])
async def test_what_a_users_callback_raises_ends_the_call(instrumented: Recorder, keyword: bool) -> None:
    def enough(attempt: int, error: Exception, delay: float) -> None:
        raise PermissionError("enough")

    async with served(refusal(503)) as (server, ai):
        ai._executor = Listening(enough, keyword=keyword)
        with pytest.raises(PermissionError, match="enough") as caught:
            await ai.chat().user("Hello?").execute()

    assert isinstance(caught.value.__context__, RemoteError)
    assert len(server.requests) == 1
    assert measured(instrumented, "errors") == {
        "ai_lib.errors": [point(1, CHAT, type="PermissionError", stage="resilience")]
    }


async def test_retries_of_another_executor_are_none_of_the_calls(instrumented: Recorder) -> None:
    heard: list[int] = []
    own = ResilientExecutor(ResilientConfig(retry=fast()), name="own")
    async with served(refusal(503), [0.2, *body(completion())], retry=fast(0)) as (server, ai):
        post = ai._transport.post

        async def stubborn(*args: Any, **kwargs: Any) -> Any:
            return await own.execute(lambda: post(*args, **kwargs), lambda attempt, *_: heard.append(attempt))

        ai._transport.post = stubborn
        await ai.chat().user("Hello?").execute()

    assert heard == [1]
    wait: dict[str, Any] = {"ai_lib.resilience.wait": Seconds(0.0, 0.15)}
    sent = transport(server.base_url, 503, "overloaded"), transport(server.base_url, 200, resend=1)
    assert seen(instrumented)[1] == operation(server.base_url, COMPILE, *sent, PARSE, attempts=2, **wait)
    # The transport sent it twice and told nobody why.
    assert measured(instrumented, "attempts", "retries") == {
        "ai_lib.attempts": points(
            point(1, GPT, kind="initial", type="overloaded"), point(1, GPT, kind="retry", type="ok")
        ),
        "ai_lib.retries": [],
    }
