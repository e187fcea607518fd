"""An application that asks a model for an answer and for a stream. There is no OpenTelemetry in it."""

import asyncio
import os
import sys

from ai_lib_python import AiClient
from ai_lib_python.errors import AiLibError

MODEL = os.environ.get("AI_MODEL", "openai/gpt-4o")
BASE_URL = os.environ.get("AI_BASE_URL")  # Without it, the base URL of the provider's manifest.
CREDENTIAL = f"{MODEL.partition('/')[0].upper().replace('-', '_')}_API_KEY"


async def main() -> None:
    """Make one call of each kind and print what comes back."""
    async with await AiClient.create(MODEL, base_url=BASE_URL) as client:
        response = await client.chat().user("What is a trace? Answer in one sentence.").execute()
        print("chat:", response.content)

        print("stream: ", end="")
        async for event in client.chat().user("What is a span? Answer in one sentence.").stream():
            if event.is_content_delta:
                print(event.as_content_delta.content, end="", flush=True)
        print()


if __name__ == "__main__":
    if not os.environ.get(CREDENTIAL):
        sys.exit(f"{CREDENTIAL} is not set. It holds the credential for {MODEL} (AI_MODEL chooses another model).")
    try:
        asyncio.run(main())
    except AiLibError as error:
        sys.exit(f"{MODEL}: {error}")
