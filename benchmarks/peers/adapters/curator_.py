"""bespokelabs-curator: an `LLM` class over the openai backend. It resumes from its cache, in the job's folder."""

import os
from importlib.util import find_spec
from pathlib import Path

from bespokelabs import curator
from job import read

# The tokenizer that it counts with would be downloaded: litellm, which it depends on, brings the same file along.
litellm = find_spec("litellm")
assert litellm
assert litellm.origin
os.environ["TIKTOKEN_CACHE_DIR"] = str(Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers")

PLENTY = 1_000_000  # requests a minute, where the server has no limits: curator assumes some otherwise
PLENTY_OF_TOKENS = 10_000_000_000


class Rewriter(curator.LLM):
    def prompt(self, row: dict[str, str]) -> str:
        return row["prompt"]

    def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
        return {"id": row["id"], "text": response}


job = read()
rewriter = Rewriter(
    model_name="m",
    backend="openai",
    backend_params={
        "base_url": job.base_url,
        "api_key": "none",
        "max_concurrent_requests": job.in_flight,
        "max_requests_per_minute": job.requests_per_minute or PLENTY,
        "max_tokens_per_minute": job.tokens_per_minute or PLENTY_OF_TOKENS,
        "require_all_responses": False,
    },
)
response = rewriter(job.rows(), working_dir=job.folder)
job.write((row["id"], row["text"]) for row in response.dataset)
