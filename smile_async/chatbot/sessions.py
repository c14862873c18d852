"""Dialogues to training sessions (section 6.1): one a counselor utterance, with the history before it (equation 5).

A session never holds a word of another dialogue. The authors' converter does: it keeps the last nine utterances as
history and goes on with them when the next dialogue begins; `legacy_sessions` does the same, for comparison only.

Consecutive utterances of one speaker are treated as every export treats them (`corpus.formats.exchange`): joined by
a line break, so that two counselor utterances in a row are one answer; a counselor who opens a dialogue is left out,
having no history.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap, exchange
from smile_async.corpus.splits import question_of
from smile_async.dialogue.model import Dialogue
from smile_async.errors import UsageError

LEGACY_HISTORY = 9  # utterances of history in the authors' converter
SEED = 1234  # Table 4

Turn = tuple[str, str]
"""Role (`user` or `assistant`) and text."""

CountTokens = Callable[[Sequence[Turn]], int]
"""Tokens of whole messages, the system prompt among them, as the model to be trained will see them."""


@dataclass(frozen=True, slots=True)
class Session:
    """What the counselor answers (`answer`) to a `history` that ends on the client. `number` counts a dialogue's
    sessions from 0; `question` is what keeps dialogues on one side of a split (`corpus.splits.question_of`); `foreign`
    is the number of history utterances that belong to another dialogue: 0 but for legacy."""

    row_id: str
    source_id: str
    number: int
    question: bytes
    history: tuple[Turn, ...]
    answer: str
    foreign: int = 0

    @property
    def id(self) -> str:
        return f"{self.row_id}-{self.number}"

    @property
    def turns(self) -> tuple[Turn, ...]:
        return (*self.history, ("assistant", self.answer))


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much history a session keeps, the newest of it: at most `turns` client utterances with the answers between
    them, and so many `tokens` for the whole session, the answer and the system prompt included."""

    turns: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("turns", self.turns), ("tokens", self.tokens)):
            if value is not None and value < 1:
                raise UsageError(f"A history limit of {value} {name} leaves nothing.", hint="Give 1 or more.")


@dataclass(slots=True)
class SessionCounts:
    """What became of the dialogues; `skipped` by reason are whole dialogues, `too_long` sessions that no shorter
    history brings under the token limit, `empty` utterances without a word, which are left out."""

    dialogues: int = 0
    counselor_utterances: int = 0
    sessions: int = 0
    shortened: int = 0
    too_long: int = 0
    foreign: int = 0
    empty: int = 0
    joined: int = 0
    leading_dropped: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def sessions_of(record: Record, roles: RoleMap = PAPER_ROLES) -> list[Session]:
    """A dialogue's sessions with all their history; empty where no client utterance is answered."""
    shaped = exchange(spoken(record.dialogue), roles)
    return [] if isinstance(shaped, str) else _split(record, shaped.turns)


def spoken(dialogue: Dialogue) -> Dialogue:
    """Without utterances that hold no word."""
    return Dialogue(utterances=tuple(one for one in dialogue.utterances if one.content.strip()))


def _split(record: Record, turns: tuple[Turn, ...]) -> list[Session]:
    question, answers = question_of(record), range(1, len(turns), 2)
    return [
        Session(record.row_id, record.source_id, number, question, turns[:place], turns[place][1])
        for number, place in enumerate(answers)
    ]


def legacy_sessions(records: Iterable[Record], roles: RoleMap = PAPER_ROLES) -> Iterator[Session]:
    """The samples of the authors' converter, its defect included: the last nine utterances, whosever they are. A
    counselor who opens a dialogue gets no sample, but stays in the history of others."""
    recent: deque[tuple[str, Turn]] = deque(maxlen=LEGACY_HISTORY)
    for record in records:
        number, question = 0, question_of(record)
        for place, one in enumerate(record.dialogue.utterances):
            is_answer = one.role == roles.assistant
            if is_answer and place > 0:
                history = tuple(turn for _, turn in recent)
                foreign = sum(owner != record.row_id for owner, _ in recent)
                yield Session(record.row_id, record.source_id, number, question, history, one.content, foreign)
                number += 1
            recent.append((record.row_id, ("assistant" if is_answer else "user", one.content)))


def shortened(session: Session, limits: HistoryLimits, count: CountTokens | None, system: str | None) -> Session | None:
    """The session within `limits`, its oldest exchanges cut; None when even the last client utterance does not fit.

    Raises `UsageError` when tokens are limited and nobody counts them.
    """
    history = session.history
    if limits.turns is not None:
        history = history[-(2 * limits.turns - 1) :]
    if limits.tokens is not None:
        if count is None:
            raise UsageError("A limit in tokens needs a tokenizer.", hint="Name a model: --tokenizer NAME or FOLDER.")
        head: tuple[Turn, ...] = (("system", system),) if system else ()
        cut = within((*head, *history, ("assistant", session.answer)), limits.tokens, count)
        if cut is None:
            return None
        history = cut[len(head) : -1]
    return session if len(history) == len(session.history) else replace(session, history=history)


def within(turns: tuple[Turn, ...], most: int, count: CountTokens) -> tuple[Turn, ...] | None:
    """A session's messages in at most `most` tokens: its oldest exchanges are cut, the system prompt stays. None when
    even the last client utterance and its answer do not fit."""
    head = tuple(turn for turn in turns if turn[0] == "system")
    rest = tuple(turn for turn in turns if turn[0] != "system")
    while len(rest) > 1:
        if count((*head, *rest)) <= most:
            return (*head, *rest)
        rest = rest[2:]
    return None


def shortest(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """All that `within` can cut is gone: the system prompt, the last client utterance, its answer."""
    head = tuple(turn for turn in turns if turn[0] == "system")
    rest = tuple(turn for turn in turns if turn[0] != "system")
    return (*head, *rest[-2 - len(rest) % 2 :])  # histories of the authors' converter may begin with an answer


def counted_sessions(
    records: Iterable[Record],
    counts: SessionCounts,
    *,
    roles: RoleMap = PAPER_ROLES,
    limits: HistoryLimits | None = None,
    system: str | None = None,
    count_tokens: CountTokens | None = None,
    legacy: bool = False,
) -> Iterator[Session]:
    """Every session of `records` within `limits`, in their order; `counts` grows as they pass."""
    own = _each_of(records, counts, roles)
    found = legacy_sessions(_told(records, counts, roles), roles) if legacy else own
    for session in found:
        fitting = shortened(session, limits, count_tokens, system) if limits else session
        if fitting is None:
            counts.too_long += 1
            continue
        counts.shortened += fitting is not session
        counts.foreign += fitting.foreign > 0
        counts.sessions += 1
        yield fitting


def _told(records: Iterable[Record], counts: SessionCounts, roles: RoleMap) -> Iterator[Record]:
    for record in records:
        counts.dialogues += 1
        counts.counselor_utterances += sum(one.role == roles.assistant for one in record.dialogue.utterances)
        yield record


def _each_of(records: Iterable[Record], counts: SessionCounts, roles: RoleMap) -> Iterator[Session]:
    for record in _told(records, counts, roles):
        said = spoken(record.dialogue)
        counts.empty += len(record.dialogue.utterances) - len(said.utterances)
        shaped = exchange(said, roles)
        if isinstance(shaped, str):
            counts.skipped[shaped] += 1
            continue
        counts.joined += "joined" in shaped.changes
        counts.leading_dropped += "leading_dropped" in shaped.changes
        yield from _split(record, shaped.turns)
