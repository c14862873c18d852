"""The OpenAI client with a semaphore and gather, as its README shows; variant `aiohttp` with its aiohttp client."""

import asyncio
import contextlib

import openai
from job import read


async def main() -> None:
    job = read()
    room = asyncio.Semaphore(job.in_flight)
    answers: list[tuple[str, str]] = []

    async def ask(client: openai.AsyncOpenAI, row: dict[str, str]) -> None:
        async with room:
            with contextlib.suppress(openai.OpenAIError):  # after the client's own retries: the row is lost
                reply = await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": row["prompt"]}]
                )
                answers.append((row["id"], reply.choices[0].message.content or ""))

    http_client = openai.DefaultAioHttpClient() if job.variant == "aiohttp" else None
    async with openai.AsyncOpenAI(base_url=job.base_url, api_key="none", http_client=http_client) as client:
        await asyncio.gather(*(ask(client, row) for row in job.rows()))
    job.write(answers)


asyncio.run(main())
