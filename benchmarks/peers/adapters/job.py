"""What an adapter is told and hands back. Standard library only: adapters run in the environments of others."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """`prompts` is JSONL of `id` and `prompt`; `source` holds the same rows as PsyQA; `folder` may keep a state.

    `requests_per_minute` and `tokens_per_minute` are None where the server has no limits; `variant` tells peers apart
    that share an adapter.
    """

    prompts: str
    source: str
    folder: str
    out: str
    base_url: str
    in_flight: int
    variant: str = ""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    def rows(self) -> list[dict[str, str]]:
        with Path(self.prompts).open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    def write(self, answers: Iterable[tuple[str, str]]) -> None:
        """The result as JSONL of `id` and `text`: what was asked of every peer."""
        with Path(self.out).open("w", encoding="utf-8") as file:
            for ident, text in answers:
                print(json.dumps({"id": ident, "text": text}, ensure_ascii=False), file=file)


def read() -> Job:
    """The job that the first argument names."""
    return Job(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
