"""Sessions as token ids, packed: a corpus of 310,087 sessions of some 800 tokens each is 2 GB, not 20."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from smile_async.chatbot.base_model import ChatTokens
from smile_async.chatbot.session_files import TrainingSession
from smile_async.chatbot.sessions import within

IGNORED = -100  # the label that no loss is taken of


@dataclass(slots=True)
class TokenRows:
    """Rows one after the other; `starts` are where each begins, `answers` the tokens at its end that are learnt.

    `shortened` counts sessions whose oldest exchanges were cut, `too_long` those left out.
    """

    ids: "array[int]" = field(default_factory=lambda: array("i"))
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    answers: "array[int]" = field(default_factory=lambda: array("i"))
    shortened: int = 0
    too_long: int = 0

    def __len__(self) -> int:
        return len(self.starts)

    def add(self, before: list[int], answer: list[int]) -> None:
        self.starts.append(len(self.ids))
        self.ids.extend(before)
        self.ids.extend(answer)
        self.answers.append(len(answer))

    def row(self, place: int) -> dict[str, list[int]]:
        """`input_ids` and `labels`: the loss is the counselor's words alone (equation 5)."""
        end = self.starts[place + 1] if place + 1 < len(self.starts) else len(self.ids)
        ids = self.ids[self.starts[place] : end].tolist()
        known = len(ids) - self.answers[place]
        return {"input_ids": ids, "labels": [IGNORED] * known + ids[known:]}

    def dataset(self) -> Any:
        """As a `datasets.Dataset` in memory that makes each row when it is asked for; nothing is written to disk."""
        from datasets import Dataset

        def rows(batch: dict[str, list[int]]) -> dict[str, list[list[int]]]:
            made = [self.row(place) for place in batch["place"]]
            return {name: [row[name] for row in made] for name in ("input_ids", "labels")}

        return Dataset.from_dict({"place": list(range(len(self)))}).with_transform(rows)


def token_rows(sessions: Iterable[TrainingSession], tokens: ChatTokens, max_length: int) -> TokenRows:
    """Each session in at most `max_length` tokens."""
    rows = TokenRows()
    for session in sessions:
        before, answer = tokens.session(session.messages)
        if len(before) + len(answer) > max_length:
            cut = within(session.messages, max_length, tokens.count)
            if cut is None:
                rows.too_long += 1
                continue
            rows.shortened += 1
            before, answer = tokens.session(cut)
        rows.add(before, answer)
    return rows
