"""Ballots to Label Studio, and its annotations back to votes.

A task holds one case: its history as `Paragraphs`, a `Text` a response, and `Choices` a pair, named AB, AC, BC. Votes
are read from Label Studio's JSON export; of a `Pairwise` control of such a name `left` is the first letter.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from smile_async.chatbot.ballots import TIE, Ballots
from smile_async.chatbot.votes import Vote
from smile_async.errors import SourceError
from smile_async.filing import whole_file

Language = Literal["en", "zh"]
TASKS, CONFIG = "tasks.json", "config.xml"

WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "head": "Compare the responses pairwise regarding professionalism, informativeness, helpfulness, empathy, and "
        "safety, and select the optimal response for the dialogue history.",
        "user": "Help-seeker", "assistant": "Supporter", "response": "Response {}", "pair": "{} or {}?", "tie": "equal",
    },
    "zh": {
        "head": "请从专业性、信息性、有用性、共情和安全性几个方面对回复进行两两比较，选出更适合该对话历史的回复。",
        "user": "求助者", "assistant": "支持者", "response": "回复 {}", "pair": "{} 还是 {}？", "tie": "一样好",
    },
}  # fmt: skip


def write_project(ballots: Ballots, folder: Path, language: Language = "en", *, overwrite: bool = False) -> None:
    """`tasks.json` to import and `config.xml`, the labelling configuration, into `folder`."""
    tasks = [
        {
            "data": {
                "case": ballot.case,
                "drawn": ballots.drawn,
                "history": [{"author": WORDS[language][one.role], "text": one.content} for one in ballot.history],
                **{one.letter: one.text for one in ballot.responses},
            }
        }
        for ballot in ballots.ballots
    ]
    with whole_file(folder / TASKS, overwrite=overwrite) as file:
        file.write(orjson.dumps(tasks, option=orjson.OPT_INDENT_2))
    with whole_file(folder / CONFIG, overwrite=overwrite) as file:
        file.write(labelling_config(ballots, language).encode())


def labelling_config(ballots: Ballots, language: Language = "en") -> str:
    """For the project's settings, Labeling Interface, Code."""
    said = WORDS[language]
    lines = [
        "<View>",
        "  <Style>.htx-text, .lsf-paragraphs span { white-space: pre-wrap; }</Style>",
        f'  <Header size="4" value={quoteattr(said["head"])}/>',
        '  <Paragraphs name="history" value="$history" layout="dialogue" nameKey="author" textKey="text"/>',
    ]
    for letter in ballots.letters:
        lines.append(f'  <Header size="5" value={quoteattr(said["response"].format(letter))}/>')
        lines.append(f'  <Text name="{letter}" value="${letter}"/>')
    for pair in ballots.pairs:
        lines.append(f'  <Header size="5" value={quoteattr(said["pair"].format(*pair))}/>')
        lines.append(
            f'  <Choices name="{pair}" toName="history" choice="single-radio" showInline="true" required="true">'
        )
        lines += [f'    <Choice value="{letter}"/>' for letter in pair]
        if ballots.ties:
            lines.append(f'    <Choice value={quoteattr(said["tie"])} alias="{TIE}"/>')
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>", ""])


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Value(_Read):
    choices: tuple[str, ...] = ()
    selected: Literal["left", "right"] | None = None


class _Result(_Read):
    from_name: str = ""
    type: str = ""
    value: _Value = _Value()


class _Annotation(_Read):
    completed_by: int | dict[str, Any] | None = None
    was_cancelled: bool = False
    updated_at: datetime | None = None
    created_at: datetime | None = None
    result: tuple[_Result, ...] = ()


class _Data(_Read):
    case: str
    drawn: str


class _Task(_Read):
    data: _Data
    annotations: tuple[_Annotation, ...] = Field(default=())


_TASKS = TypeAdapter(tuple[_Task, ...])


def read_annotations(path: Path, ballots: Ballots) -> list[Vote]:
    """The votes of a JSON export, oldest first; a rater is called by e-mail address, or by number. Skipped annotations
    are no votes.

    Errors: `SourceError` for another format, tasks of other ballots, or a choice that the ballots do not know.
    """
    try:
        tasks = _TASKS.validate_json(path.read_bytes())
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", file=str(path), hint="Check the path.") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise SourceError(
            first["msg"],
            file=str(path),
            field=".".join(map(str, first["loc"])) or None,
            hint="Export from Label Studio as JSON (not JSON-MIN), of tasks that smile wrote.",
        ) from None
    votes = [vote for row, task in enumerate(tasks, start=1) for vote in _votes(task, ballots, str(path), row)]
    return sorted(votes, key=lambda vote: vote.at)


def _votes(task: _Task, ballots: Ballots, file: str, row: int) -> Iterator[Vote]:
    if task.data.drawn != ballots.drawn:
        raise SourceError("is a task of other ballots", file=file, row=row, hint="Name the ballots it was made from.")
    for annotation in task.annotations:
        at = annotation.updated_at or annotation.created_at
        for result in () if annotation.was_cancelled else annotation.result:
            choice = _choice(result)
            if choice is None:
                continue
            if not ballots.allows(task.data.case, result.from_name, choice):
                raise SourceError(f"{result.from_name!r} has no such choice", file=file, row=row)
            yield Vote(_name(annotation), task.data.case, result.from_name, choice, at.timestamp() if at else 0.0)


def _choice(result: _Result) -> str | None:
    if result.type == "choices" and len(result.value.choices) == 1:
        return result.value.choices[0]
    if result.type == "pairwise" and result.value.selected and len(result.from_name) == 2:
        return result.from_name[0 if result.value.selected == "left" else 1]
    return None


def _name(annotation: _Annotation) -> str:
    who = annotation.completed_by
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    return f"label-studio-{who}" if who is None or isinstance(who, int) else str(who)
