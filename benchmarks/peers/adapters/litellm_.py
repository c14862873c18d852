"""litellm: `acompletion` with a semaphore; variants `router` (the Router, told the limits) and `router-enforced`.

Enforcing is the Router's check before each call, which raises where a minute's count is spent: so it is given retries
enough, and told to wait between them, not to lose rows.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import litellm
from job import Job, read

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
            num_retries=100,
            retry_after=5,
            disable_cooldowns=True,
        )
    else:
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
