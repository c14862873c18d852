"""This project, with the bare prompt: every check of the dialogue, the ledger and the results included.

The run folder's corpus is the result; the same call goes on with a run that was killed.
"""

import asyncio
from pathlib import Path

from job import read

from smile_async import Endpoint, Limits, Options, generate_corpus

job = read()
limits = Limits(
    concurrency=job.in_flight, requests_per_minute=job.requests_per_minute, tokens_per_minute=job.tokens_per_minute
)
asyncio.run(
    generate_corpus(
        job.source,
        Path(job.folder) / "run",
        provider=Endpoint(base_url=job.base_url, model="m", api_key_env=""),
        options=Options(recipe=Path(__file__).with_name("bare.toml"), limits=limits),
    )
)
