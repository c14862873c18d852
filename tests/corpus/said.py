"""Dialogues written for tests, and runs that hold them."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smile_async.corpus.formats import Record
from smile_async.dialogue.model import Dialogue, QAPair, Utterance
from smile_async.options import Options
from smile_async.pipeline import generate_corpus
from smile_async.settings import Intake
from smile_async.testing import ScriptedProvider, replying

ROLES = {"c": "client", "s": "counselor", "x": "narrator"}
FIVE = "\n".join(f"求助者: 我睡不着{n}。\n支持者: 再试试看{n}！好吗？" for n in range(5))
CUT = "求助者: 我睡不着。"


def dialogue(spoken: str) -> Dialogue:
    """`c:你 s:好` as a dialogue of client (c) and counselor (s)."""
    return Dialogue(utterances=tuple(Utterance(role=ROLES[part[0]], content=part[2:]) for part in spoken.split()))


def record(number: int, spoken: str = "c:你好 s:您好 c:难过 s:我在", **changes: Any) -> Record:
    pair = QAPair(question=f"问{number}", description="述", answer="答", source_id=f"q{number}")
    return Record(f"row{number}", f"q{number}", pair, dialogue(spoken), **changes)


def spoken(number: int) -> list[dict[str, str]]:
    return [{"role": "client", "content": f"第{number}次。"}, {"role": "counselor", "content": "我在听。"}]


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def make_run(folder: Path, *, rows: int = 4, refused: int = 1, recipe: str = "smile") -> Path:
    """A run of `rows` rows, the first `refused` of which are set aside. Two answers to each question."""
    provider = ScriptedProvider(lambda request, _: replying(CUT if _wants_refusal(request, refused) else FIVE))
    options = Options(recipe=recipe, intake=Intake(limit=rows))
    pairs = [
        QAPair(question=f"问题{n // 2}号？", description="两周了。", answer=f"答案{n}号。", source_id=f"q{n // 2}",
               answer_index=n % 2)
        for n in range(rows)
    ]  # fmt: skip
    asyncio.run(generate_corpus(pairs if recipe == "smile" else None, folder, provider=provider, options=options))
    return folder


def _wants_refusal(request: Any, refused: int) -> bool:
    text = "".join(message.content for message in request.messages)
    return any(f"答案{n}号" in text for n in range(refused))
