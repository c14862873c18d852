"""A task of one's own on the engine: label questions with one topic each. Two plain functions are all it takes.

    python examples/own_task.py [RUN]

Limits, retries, the ledger, resume and progress are the engine's; it does not know what a topic is.
"""

import asyncio
import sys
from pathlib import Path

import orjson

from smile_async import Accepted, Limits, Message, Rejected, Reply, Request, Task, run
from smile_async.testing import ScriptedProvider, replying

TOPICS = ("焦虑", "恋爱问题", "职业规划", "家庭冲突")


def render(question: str) -> Request:
    """What to ask about one question."""
    prompt = f"从这些主题中选一个：{'、'.join(TOPICS)}。只回答主题。\n\n{question}"
    return Request((Message("user", prompt),), max_tokens=10)


def accept(_question: str, reply: Reply) -> Accepted[str] | Rejected:
    """The label, or the code under which a useless answer is counted (and asked again)."""
    label = reply.text.strip(" 。\n")
    return Accepted(label) if label in TOPICS else Rejected("unknown-topic")


LABELLING = Task(
    name="topic-label",
    render=render,
    accept=accept,
    dump_item=orjson.dumps,
    load_item=orjson.loads,
    dump_value=orjson.dumps,
    identity={"prompt_version": 1},  # whatever shapes the request: change it and an old run is not mixed with a new one
)


def keyword_model(request: Request, number: int) -> Reply:
    """Stands in for a model here; every fifth answer is useless. For a real one see provider.chat.ChatProvider."""
    question = request.messages[-1].content
    words = {"考试": "焦虑", "分手": "恋爱问题", "工作": "职业规划", "父母": "家庭冲突"}
    label = next((label for word, label in words.items() if word in question), "焦虑")
    return replying("我不确定" if number % 5 == 4 else label)


async def main(folder: Path) -> None:
    questions = [
        f"第{number}问：{text}" for number in range(25) for text in ("考试前睡不着", "分手以后很难过", "想换工作")
    ]
    report = await run(
        LABELLING,
        questions,
        folder,
        provider=ScriptedProvider(keyword_model, latency=0.01),
        limits=Limits(concurrency=8),
    )
    counts = report.check().counts
    print(
        f"{counts.accepted} of {counts.total} labelled with {counts.replies} replies; set aside: {dict(counts.reasons)}"
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-task")))
