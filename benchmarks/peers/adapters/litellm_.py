"""litellm: `acompletion` with a semaphore; variants `router` (the Router, told the limits) and `router-enforced`.

Enforcing is the Router's check before each call, which raises where a minute's count is spent. Its retries then give up
rows, so a loop of the caller's waits and calls again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import litellm
from job import Job, read

PAUSE = 1.0  # seconds between two calls of the caller's loop

litellm.suppress_debug_info = True


def asker(job: Job) -> Callable[..., Awaitable[Any]]:
    target = {"model": "openai/m", "api_base": job.base_url, "api_key": "none"}
    if not job.variant:
        return lambda **more: litellm.acompletion(**target, **more)
    limits = {"rpm": job.requests_per_minute, "tpm": job.tokens_per_minute}
    deployment = {
        "model_name": "m",
        "litellm_params": target | {name: amount for name, amount in limits.items() if amount},
    }
    if job.variant == "router-enforced":
        router = litellm.Router(
            model_list=[deployment],
            optional_pre_call_checks=["enforce_model_rate_limits"],
            num_retries=0,
            disable_cooldowns=True,
        )

        async def until_it_fits(**more: Any) -> Any:
            while True:
                try:
                    return await router.acompletion(model="m", **more)
                except litellm.RateLimitError:
                    await asyncio.sleep(PAUSE)

        return until_it_fits
    router = litellm.Router(model_list=[deployment])
    return lambda **more: router.acompletion(model="m", **more)


async def main() -> None:
    job = read()
    call, room = asker(job), asyncio.Semaphore(job.in_flight)
    answers: list[tuple[str, str]] = []

    async def ask(row: dict[str, str]) -> None:
        async with room:
            with contextlib.suppress(Exception):  # after litellm's own retries: the row is lost
                reply = await call(messages=[{"role": "user", "content": row["prompt"]}])
                answers.append((row["id"], reply.choices[0].message.content or ""))

    await asyncio.gather(*(ask(row) for row in job.rows()))
    job.write(answers)


asyncio.run(main())
