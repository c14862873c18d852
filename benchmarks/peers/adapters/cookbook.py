"""A script in the manner of the OpenAI cookbook's parallel processor, written anew from its description.

One loop starts at most one request a turn and sleeps a millisecond after each; requests and tokens are refilled by the
time gone (full at first); a refusal stops the loop for 15 seconds; a request has five attempts; results are appended.
Tokens are reckoned as prompt + `max_tokens` (variant `tuned`), else + 15, as the original does for requests without
`max_tokens`; the original's tokenizer is downloaded, so a length-based count that is right for the server stands in.
"""

import asyncio
import json
import time
from collections import deque
from pathlib import Path

import aiohttp
from job import Job, read

PAUSE = 15.0  # seconds after a refusal
TURN = 0.001  # seconds
ATTEMPTS = 5
EXPECTED = 720  # tokens of an answer, for the tuned variant: a ceiling that cuts almost none
GUESS = 15  # tokens of an answer, where max_tokens is not said
ENDLESS = 1e9  # a minute, where there is no limit


class Script:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.tuned = job.variant == "tuned"
        self.waiting = deque((row, ATTEMPTS) for row in job.rows())
        self.open = len(self.waiting)
        self.refused_at = -PAUSE
        self.rates = (job.requests_per_minute or ENDLESS, job.tokens_per_minute or ENDLESS)
        self.tasks: set[asyncio.Task[None]] = set()

    def tokens(self, row: dict[str, str]) -> int:
        other = sum(character > "\x7f" for character in row["prompt"])
        prompt = 0.7 * other + 0.25 * (len(row["prompt"]) - other)
        return round(prompt) + (EXPECTED if self.tuned else GUESS)

    async def run(self) -> None:
        room, at = list(self.rates), time.time()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self.job.in_flight)) as session:
            while self.open:
                now = time.time()
                room = [min(rate, r + rate * (now - at) / 60) for r, rate in zip(room, self.rates, strict=True)]
                at = now
                if self.waiting and room[0] >= 1 and room[1] >= self.tokens(self.waiting[0][0]):
                    row, attempts = self.waiting.popleft()
                    room[0] -= 1
                    room[1] -= self.tokens(row)
                    task = asyncio.create_task(self.call(session, row, attempts - 1))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
                await asyncio.sleep(TURN)
                if (pause := self.refused_at + PAUSE - time.time()) > 0:
                    await asyncio.sleep(pause)

    async def call(self, session: aiohttp.ClientSession, row: dict[str, str], attempts: int) -> None:
        body = {"model": "m", "messages": [{"role": "user", "content": row["prompt"]}]}
        if self.tuned:
            body["max_tokens"] = EXPECTED
        try:
            async with session.post(f"{self.job.base_url}/chat/completions", json=body) as response:
                reply = await response.json()
        except aiohttp.ClientError as error:
            reply = {"error": {"message": str(error)}}
        if "error" not in reply:
            self.save({"id": row["id"], "text": reply["choices"][0]["message"]["content"]})
        else:
            if "Rate limit" in reply["error"]["message"]:
                self.refused_at = time.time()
            if attempts:
                self.waiting.append((row, attempts))
                return
        self.open -= 1

    def save(self, line: dict[str, str]) -> None:
        with Path(self.job.out).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


asyncio.run(Script(read()).run())
