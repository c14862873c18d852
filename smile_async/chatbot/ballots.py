"""Ballots for human evaluation (section 6.3.2, Figure 13): cases drawn by seed, several systems' responses to each in
random order under letters, and apart from them the key that says which letter is which system.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smile_async.chatbot.answer_lines import read_texts, read_whole
from smile_async.errors import SourceError, UsageError
from smile_async.filing import whole_file

LETTERS = "ABCDE"
TIE = "tie"
CASES = 100  # section 6.3.2

Document = TypeVar("Document", bound=BaseModel)


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


class Message(_Told):
    """OpenAI's shape; the system's instructions are no part of a history that raters see."""

    role: Literal["system", "user", "assistant"]
    content: str


class Case(_Told):
    """A test case: a history that ends before the response, and the counselor's own response if it is known."""

    id: str = Field(min_length=1)
    messages: tuple[Message, ...]
    reference: str | None = None


class Shown(_Told):
    """What raters see of a response: its letter and its words."""

    letter: str
    text: str


class Ballot(_Told):
    case: str
    history: tuple[Message, ...]
    responses: tuple[Shown, ...]


class Ballots(_Told):
    """What raters may have: nothing in it tells which letter is which system, or helps to draw the order again.
    `drawn` names the draw: key and votes carry it too."""

    format: Literal["smile-ballots-1"] = "smile-ballots-1"
    drawn: str
    ties: bool = False
    letters: str
    ballots: tuple[Ballot, ...]

    @property
    def pairs(self) -> tuple[str, ...]:
        return pairs_of(self.letters)

    def allows(self, case: str, pair: str, choice: str) -> bool:
        """Whether such a vote can be given."""
        chosen = (choice in pair and len(choice) == 1) or (self.ties and choice == TIE)
        return pair in self.pairs and chosen and any(ballot.case == case for ballot in self.ballots)

    def __repr__(self) -> str:
        return f"<Ballots {self.drawn} [{len(self.ballots)} cases, {self.letters}]>"


class Key(_Told):
    """What raters must not have: `places[case][letter]` is a system."""

    format: Literal["smile-key-1"] = "smile-key-1"
    drawn: str
    seed: int
    ties: bool = False
    systems: tuple[str, ...]
    places: dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Draw:
    """`missing[system]` counts the cases that it did not answer: none of them is drawn. `identical` counts pairs of
    responses that read the same: a choice between them says nothing."""

    ballots: Ballots
    key: Key
    missing: dict[str, int] = field(default_factory=dict)
    identical: int = 0


def pairs_of(letters: str) -> tuple[str, ...]:
    """AB, AC, BC: every two responses are compared (Figure 13)."""
    return tuple(first + second for first, second in combinations(letters, 2))


def draw(
    cases: Sequence[Case],
    systems: Mapping[str, Mapping[str, str]],
    *,
    count: int = CASES,
    seed: int = 0,
    ties: bool = False,
) -> Draw:
    """Draw up to `count` of the cases that every system answered (`systems[name][case id]` is a response).

    The same call draws the same. Which cases, follows from the seed; the order of the responses follows from the seed
    and from which response is whose, so that who has ballots and seed alone cannot draw it again.
    `UsageError` for other than two to five systems, for responses to cases that are not there, or when no case has all
    responses.
    """
    if not 2 <= len(systems) <= len(LETTERS):
        raise UsageError(f"{len(systems)} systems: a ballot compares two to five.", hint="Name each as NAME=FILE.")
    if count < 1:
        raise UsageError(f"{count} cases are to be drawn.", hint="Give 1 or more; the paper draws 100.")
    _check_same_cases(cases, systems)
    answered = [case for case in cases if all(case.id in told for told in systems.values())]
    if not answered:
        told = ", ".join(f"{name} {len(texts):,}" for name, texts in systems.items())
        raise UsageError(
            f"None of the {len(cases):,} cases is answered by every system (answers: {told}).",
            hint="A case needs a response of every system, under its id.",
        )
    drawn = Random(seed).sample(answered, min(count, len(answered)))
    secret = _digest(seed, drawn, systems)
    order = Random(secret)
    letters = LETTERS[: len(systems)]
    ballots, places = [], {}
    for case in drawn:
        names = list(systems)
        order.shuffle(names)
        places[case.id] = dict(zip(letters, names, strict=True))
        ballots.append(_ballot(case, places[case.id], systems))
    name = hashlib.sha256(f"name {secret}".encode()).hexdigest()[:16]
    return Draw(
        Ballots(drawn=name, ties=ties, letters=letters, ballots=tuple(ballots)),
        Key(drawn=name, seed=seed, ties=ties, systems=tuple(systems), places=places),
        {system: sum(case.id not in told for case in cases) for system, told in systems.items()},
        sum(_identical(ballot) for ballot in ballots),
    )


def _check_same_cases(cases: Sequence[Case], systems: Mapping[str, Mapping[str, str]]) -> None:
    known = {case.id for case in cases}
    for name, told in systems.items():
        if foreign := [one for one in told if one not in known]:
            raise UsageError(
                f"{name} has answers to {len(foreign):,} cases that are not among the {len(known):,} given, the first"
                f" {foreign[0]!r}: they are answers to another test set.",
                hint="Give the cases that all systems answered.",
            )


def _ballot(case: Case, places: Mapping[str, str], systems: Mapping[str, Mapping[str, str]]) -> Ballot:
    # Blanks around a response are a habit of its model: they would tell who speaks.
    shown = tuple(Shown(letter=letter, text=systems[name][case.id].strip()) for letter, name in places.items())
    history = tuple(message for message in case.messages if message.role != "system")
    return Ballot(case=case.id, history=history, responses=shown)


def _identical(ballot: Ballot) -> int:
    return sum(first.text == second.text for first, second in combinations(ballot.responses, 2))


def _digest(seed: int, cases: Sequence[Case], systems: Mapping[str, Mapping[str, str]]) -> str:
    told = [[case.id, [[name, texts[case.id]] for name, texts in systems.items()]] for case in cases]
    return hashlib.sha256(orjson.dumps([str(seed), told])).hexdigest()


def references(cases: Iterable[Case]) -> dict[str, str]:
    """The counselors' own responses, as one more system (the paper's golden responses)."""
    return {case.id: case.reference for case in cases if case.reference is not None}


def read_cases(path: Path) -> list[Case]:
    """JSONL of {id, messages, reference?}. Errors: `SourceError`."""
    found: dict[str, Case] = {}
    for number, line in enumerate(read_whole(path).splitlines(), start=1):  # bytes: only \n and \r end a line
        if not line.strip():
            continue
        try:
            case = Case.model_validate(orjson.loads(line))
        except orjson.JSONDecodeError:
            raise SourceError("is not JSON", file=str(path), row=number, hint="One JSON object a line.") from None
        except ValidationError as error:
            raise _unfit(error, path, number) from None
        if case.id in found:
            raise SourceError(f"the id {case.id!r} occurs twice", file=str(path), row=number)
        found[case.id] = case
    return list(found.values())


def read_responses(path: Path) -> dict[str, str]:
    """JSONL of {id, response}, by id. Errors: `SourceError`."""
    return read_texts(path)


def _unfit(error: ValidationError, path: Path, row: int | None = None) -> SourceError:
    """Says where and what kind of wrong; never what stands there, for that may be a person's words."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or None
    return SourceError(first["msg"], file=str(path), row=row, field=place)


def write_ballots(drawn: Draw, ballots: Path, key: Path, *, overwrite: bool = False) -> None:
    """Two files (mode 0600). The key comes first: ballots without a key would be votes for nobody.

    `UsageError` when there is something already, and it is not to be replaced.
    """
    if ballots.resolve() == key.resolve():
        raise UsageError(f"{key}: ballots and key are two files.", hint="Name another --key.")
    if not overwrite and ballots.exists() and ballots.stat().st_size:
        raise UsageError(f"{ballots} exists already.", hint="Name another place, or --overwrite.")
    for path, document in ((key, drawn.key), (ballots, drawn.ballots)):
        with whole_file(path, overwrite=overwrite) as file:
            file.write(orjson.dumps(document.model_dump(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read_ballots(path: Path) -> Ballots:
    """Errors: `SourceError`."""
    return _read_document(path, Ballots, "smile ballot writes such a file.")


def read_key(path: Path) -> Key:
    """Errors: `SourceError`."""
    return _read_document(path, Key, "smile ballot writes it beside the ballots, as NAME.key.json.")


def _read_document(path: Path, kind: type[Document], hint: str) -> Document:
    try:
        return kind.model_validate(orjson.loads(read_whole(path)))
    except orjson.JSONDecodeError:
        raise SourceError("is not JSON", file=str(path), hint=hint) from None
    except ValidationError as error:
        told = _unfit(error, path)
        raise SourceError(told.problem, file=str(path), field=told.field, hint=hint) from None
