"""Topics by the embedded base model, in place of Figure 11's instruction, which it cannot follow."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from smile_async.analysis.labels import Labels
from smile_async.analysis.topics import (
    LANGUAGE,
    SAMPLING,
    SHOWN,
    Annotated,
    Spoken,
    topic_task,
)
from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap
from smile_async.engine.job import Message, Request
from smile_async.engine.run import RunReport
from smile_async.engine.task import Task
from smile_async.notes import Whom
from smile_async.options import Options
from smile_async.prompt.annotation_few_shot import few_shot, labels_grammar
from smile_async.tasks import Following, Keeping, run_task

MAX_TOKENS = 64  # of three names
LONGEST = 1_500  # characters of a dialogue that are shown: the context holds 4,096 tokens, the examples take 900
LEFT_OUT = "\n……\n"  # stands where the middle of a longer one is left out


def few_shot_task() -> Task[Annotated, Labels]:
    """As `topic_task`, with examples and a grammar (a field of llama.cpp's) in place of the instruction."""
    shown = few_shot()

    def render(one: Annotated) -> Request:
        said = shown.messages(both_ends(one.text))
        extra = {"grammar": labels_grammar(), "cache_prompt": True}
        return Request(tuple(Message(role, content) for role, content in said), MAX_TOKENS, extra)

    identity = {LANGUAGE: "zh", "prompt": shown.digest, "max_tokens": MAX_TOKENS, SHOWN: LONGEST}
    return replace(topic_task("zh"), render=render, identity=identity)


def both_ends(text: str, most: int = LONGEST) -> str:
    """Beginning and end of what is longer than `most`: what somebody came for stands at the beginning, what it led to
    at the end. Whole lines of each, where these are half of the room at least."""
    if len(text) <= most:
        return text
    half = (most - len(LEFT_OUT)) // 2
    first, last = text[:half], text[-half:]
    lines = first.rpartition("\n")[0], last.partition("\n")[2]
    begin, end = (kept if 2 * len(kept) >= half else cut for kept, cut in zip(lines, (first, last), strict=True))
    return begin + LEFT_OUT + end


async def annotate_few_shot(
    records: Iterable[Record],
    out: str | Path,
    *,
    provider: Whom,
    roles: RoleMap = PAPER_ROLES,
    options: Options | None = None,
    keeping: Keeping | None = None,
    following: Following | None = None,
) -> RunReport:
    """As `annotate_topics`; of a dialogue above `LONGEST` characters beginning and end are shown. Its labels are a
    small model's guesses among the 60: none is ever outside of them."""
    task, spoken, seen = few_shot_task(), Spoken(records, roles, "zh"), following or Following()
    return await run_task(
        task,
        await seen.aside(partial(spoken.items, task, out, options or Options())),
        out,
        provider=provider,
        options=options,
        sampling=SAMPLING,
        keeping=spoken.keeping(keeping or Keeping()),
        following=seen,
    )
