"""A study of a few rows on a virtual clock: scripted answers for dialogues, vectors and topics."""

import random
from array import array
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smile_async.analysis.study import Asked, Step, Study, StudyReport, reproduce
from smile_async.engine.job import Failure, Reply, Request, Usage
from smile_async.engine.switch import StopSwitch
from smile_async.options import Options
from smile_async.provider.embeddings import pack
from smile_async.settings import Prices, RetryPolicy
from smile_async.tasks import Following
from smile_async.testing import ScriptedProvider, replying, run_virtual
from tests.e2e.questions import questions, write_jsonl

ROWS = 4
PRICES = Prices(input=1.0, output=1.0)


def dialogue(number: int) -> str:
    """Six exchanges, no two dialogues alike."""
    said = "今天昨天前天上周下周"
    return "\n".join(
        f"求助者：这是第{number}次说起{said[turn]}的事，我很难过。\n支持者：我听见你第{number}次说{said[turn]}，慢慢来。"
        for turn in range(6)
    )


def vectors_of(request: Request, _number: int = 0) -> Reply:
    """A QA (it asks 怎么办) points along the first axis, a dialogue along the second, each a little its own way."""
    values = []
    for message in request.messages:
        text = message.content
        own = (sum(map(ord, text)) % 97) / 1_000
        values.append(array("f", [1.0, own, 0.0] if "怎么办" in text else [0.0, 1.0, own]))
    return Reply(pack(values), usage=Usage(request.characters, 0), model="vectors")


@dataclass(slots=True)
class Studying:
    """Who is asked, and what was seen of the steps. `fatal` is answered to chat in place of a dialogue while it is set;
    `labels` are given to every dialogue."""

    folder: Path
    rows: int = ROWS
    fatal: Failure | None = None
    after: int = 0
    labels: str = "焦虑, 压力"
    stop: StopSwitch | None = None
    seen: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    chat: ScriptedProvider = field(init=False)
    embed: ScriptedProvider = field(init=False)
    topics: ScriptedProvider = field(init=False)

    def __post_init__(self) -> None:
        self.chat = ScriptedProvider(self._speak, latency=1.0, identity={"model": "chat"})
        self.embed = ScriptedProvider(vectors_of, latency=1.0, identity={"model": "vectors"})
        self.topics = ScriptedProvider(lambda _request, _number: replying(self.labels), identity={"model": "topics"})
        write_jsonl(self.source, questions(20))

    @property
    def source(self) -> Path:
        return self.folder / "qa.jsonl"

    @property
    def out(self) -> Path:
        return self.folder / "study"

    def _speak(self, _request: Request, number: int) -> Reply | Failure:
        return self.fatal if self.fatal is not None and number >= self.after else replying(dialogue(number))

    def study(self, **changes: Any) -> Study:
        options = Options(retry=RetryPolicy(max_attempts=1), prices=PRICES)
        who = {"chat": self.chat, "embed": self.embed, "topics": self.topics}
        given: dict[str, Any] = {name: Asked(one, options) for name, one in who.items()}
        return Study(**{**given, "rows": self.rows, "source": self.source, **changes})

    def go(self, *, again: bool = False, **changes: Any) -> StudyReport:
        self.seen.clear()
        doing = reproduce(self.study(**changes), self.out, watch=self._watch, again=again, notify=self.told.append)
        return run_virtual(doing)

    @asynccontextmanager
    async def _watch(self, step: Step, number: int, of: int) -> AsyncIterator[Following]:
        self.seen.append(f"{number}/{of} {step.name}")
        yield Following(stop=self.stop, deterministic=random.Random(1))

    def texts(self) -> Sequence[str]:
        """All that were embedded."""
        return [message.content for _, request in self.embed.asked for message in request.messages]
