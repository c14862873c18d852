"""Dialogue generation as a task for the engine: render a row with the recipe, judge the answer by its rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from smile_async.dialogue.model import Dialogue
from smile_async.dialogue.parse import Valid, judge
from smile_async.dialogue.rules import Spoken
from smile_async.dialogue.salvage import CUT_OFF, salvage
from smile_async.dialogue.steps import Step
from smile_async.engine.job import Message, Reply, Request
from smile_async.engine.retry import CONTENT_FILTER
from smile_async.engine.task import Accepted, Amended, Rejected, Task
from smile_async.prompt.re_ask import re_ask_text
from smile_async.prompt.recipe import Recipe
from smile_async.rows import Seed

MORE_TOKENS = 2  # times the request's own max_tokens, once, after an answer that was cut off there


def dialogue_task(
    recipe: Recipe, *, max_tokens: int | None = None, rows: Mapping[str, Any] | None = None
) -> Task[Seed, Sequence[Spoken]]:
    """The recipe as a task. `max_tokens` is the request's, None leaves it to the server; `rows` is what of the intake
    shapes the rows (`rows.rows_identity`).

    Identity holds what shapes the request, not the rules: they can change, and be applied again to replies that are
    already paid for (`smile revalidate`).
    """
    work, steps = _Dialogues(recipe, max_tokens), recipe.format.salvage.steps
    return Task(
        name="dialogue",
        render=work.render,
        accept=work.accept,
        amend=work.amend if Step.MORE_TOKENS in steps or Step.RE_ASK in steps else None,
        dump_item=Seed.dump,
        load_item=Seed.load,
        dump_value=dump_spoken,
        load_value=load_spoken,
        identity={
            "recipe": recipe.name,
            "recipe_version": recipe.version,
            "recipe_digest": recipe.digest,
            "max_tokens": max_tokens,
            **(rows or {}),
        },
        source_id=lambda seed: seed.source_id,
    )


@dataclass(frozen=True, slots=True)
class _Dialogues:
    """What the task does with a row and with an answer to it."""

    recipe: Recipe
    max_tokens: int | None

    def render(self, seed: Seed) -> Request:
        messages = self.recipe.render(seed.pair, seed.topic)
        return Request(tuple([Message(role, content) for role, content in messages]), self.max_tokens)

    def accept(self, seed: Seed, reply: Reply) -> Accepted[Sequence[Spoken]] | Rejected:
        if reply.finish_reason == "content_filter":
            return Rejected(CONTENT_FILTER, reply.filtered or "finish_reason content_filter")
        form = self.recipe.format
        verdict = judge(
            reply.text, form=form, finish_reason=reply.finish_reason, refusal=reply.refusal, source=seed.pair
        )
        if isinstance(verdict, Valid):
            return Accepted(verdict.spoken, verdict.flags)
        saved = salvage(
            reply.text, form=form, finish_reason=reply.finish_reason, refusal=reply.refusal, source=seed.pair
        )
        if saved is None:
            return Rejected(str(verdict.code), verdict.detail)
        return Accepted(saved.valid.spoken, (*saved.valid.flags, *saved.flags), mended=True)

    def amend(self, seed: Seed, reply: Reply, rejected: Rejected) -> Amended | None:
        steps = self.recipe.format.salvage.steps
        if Step.MORE_TOKENS in steps and self.max_tokens is not None and reply.finish_reason == CUT_OFF:
            longer = replace(self.render(seed), max_tokens=MORE_TOKENS * self.max_tokens)
            return Amended(longer, Step.MORE_TOKENS)
        told = re_ask_text(rejected.code, self.recipe) if Step.RE_ASK in steps and reply.text.strip() else ""
        if not told:
            return None
        again = (*self.render(seed).messages, Message("assistant", reply.text), Message("user", told))
        return Amended(Request(again, self.max_tokens), Step.RE_ASK)


def dump_spoken(spoken: Sequence[Spoken]) -> bytes:
    """A dialogue as the ledger keeps it: a JSON list of {role, content}, the released corpus's own shape."""
    return orjson.dumps([{"role": role, "content": content} for role, content in spoken])


def load_spoken(data: bytes) -> list[Spoken]:
    return [(one["role"], one["content"]) for one in orjson.loads(data)]


def load_dialogue(data: bytes) -> Dialogue:
    return Dialogue.model_validate({"utterances": orjson.loads(data)})
