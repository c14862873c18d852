"""The floor of `throughput.py`: aiohttp and orjson, send and append."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from job import read
from throughput import floor

job = read()
asyncio.run(floor(Path(job.source), Path(job.folder), job.base_url, job.in_flight))
(Path(job.folder) / "floor.jsonl").rename(job.out)
