"""What the simulated endpoint says: dialogues generated from phrases, or drawn from a file."""

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from gzip import GzipFile
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, Protocol

import orjson
from pydantic import BaseModel, Field, ValidationError

from smile_async.dialogue.model import Utterance
from smile_async.errors import SourceError

CLIENT, SUPPORTER, STRANGER = 0, 1, 2
Script = list[tuple[int, str]]
"""A dialogue before any format: (CLIENT, SUPPORTER or somebody who has no place in it, text)."""

PREFIX_ENDS = (": ", ":", "：", "： ")
SEPARATORS = ("\n", "\n\n", "\\n", "\\n\n")
CLIENT_ROLES = frozenset({"client", "user", "human", "seeker"})


class DialogueSource(Protocol):
    """Where answers come from. The same (`draw`, `number`) always gives the same script.

    `draw` is 64 random bits of this ask; `number` counts distinct prompts from 0 in order of arrival.
    """

    def script(self, draw: int, number: int) -> Script: ...


class GeneratedDialogues:
    """12 to 16 utterances, about 900 Chinese characters, built from `phrases.toml`; no sentence occurs twice."""

    def script(self, draw: int, number: int) -> Script:  # noqa: ARG002
        phrases = load_phrases()
        hat = _Hat(draw)
        theme = hat.draw(list(phrases["theme"]))
        client = {name: list(lines) for name, lines in phrases["client"].items()}
        supporter = {name: list(lines) for name, lines in phrases["supporter"].items()}
        troubles, advice = list(theme["client"]), list(theme["supporter"])
        opening = hat.draw(list(theme["open"])).replace("{t}", hat.draw(list(phrases["periods"])))
        script: Script = [
            (CLIENT, opening + hat.draw(client["feel"])),
            (SUPPORTER, "".join(hat.draw(supporter[name]) for name in ("welcome", "empathy", "ask"))),
        ]
        for turn in range(4 + int(hat.chance() * 3)):
            script.append((CLIENT, _client_says(hat, turn, client, troubles)))
            script.append((SUPPORTER, _supporter_says(hat, turn, supporter, advice)))
        script.append((CLIENT, hat.draw(client["agree"]) + hat.draw(client["close"])))
        script.append((SUPPORTER, hat.draw(supporter["cheer"]) + hat.draw(supporter["close"])))
        return script


class _Hat:
    """Draws without putting back. `Random.choice` and `shuffle` cost several times more, 40 draws a dialogue."""

    __slots__ = ("chance",)

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed).random

    def draw(self, lines: list[Any]) -> Any:
        """Takes one out of `lines`."""
        at = int(self.chance() * len(lines))
        lines[at], lines[-1] = lines[-1], lines[at]
        return lines.pop()


def _client_says(hat: _Hat, turn: int, client: Mapping[str, list[str]], troubles: list[str]) -> str:
    """Trouble comes first, agreement later: the sixth exchange still finds a sentence that was not used."""
    first = hat.draw(troubles if turn < 3 else client["agree"])
    second = hat.draw(client[("feel", "tried", "doubt")[turn % 3]])
    third = hat.draw(troubles) if troubles and hat.chance() < 0.4 else ""
    return f"{first}{second}{third}"


def _supporter_says(hat: _Hat, turn: int, supporter: Mapping[str, list[str]], advice: list[str]) -> str:
    parts = (supporter["empathy"], advice, supporter["tool"], supporter["ask" if turn < 2 else "cheer"])
    return "".join(hat.draw(lines) for lines in parts)


@cache
def load_phrases() -> Mapping[str, Any]:
    text = resources.files("smile_async.simulate").joinpath("phrases.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


class _FileDialogue(BaseModel):
    dialogue: list[Utterance] = Field(min_length=1)


class FileDialogues:
    """Dialogues of a SMILECHAT-shaped JSONL file, held as bytes. `by_order`: the n-th prompt gets the n-th dialogue."""

    def __init__(self, path: Path, *, by_order: bool = False) -> None:
        self._rows = list(_checked_rows(path))
        self._by_order = by_order
        if not self._rows:
            raise SourceError("holds no dialogue", file=str(path), hint="Name a JSONL file of dialogues.")

    def __len__(self) -> int:
        return len(self._rows)

    def script(self, draw: int, number: int) -> Script:
        index = (number if self._by_order else draw) % len(self._rows)
        turns = orjson.loads(self._rows[index])["dialogue"]
        return [(CLIENT if t["role"] in CLIENT_ROLES else SUPPORTER, t["content"]) for t in turns]


def _checked_rows(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _checked(line.strip(), path, number)
    except (OSError, EOFError) as error:
        raise SourceError(f"cannot be read: {error}", file=str(path), hint="Check its path.") from error


def _open(path: Path) -> GzipFile | BinaryIO:
    return GzipFile(path) if path.suffix == ".gz" else path.open("rb")


def _checked(line: bytes, path: Path, number: int) -> bytes:
    try:
        _FileDialogue.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or None
        hint = 'A row is {"id": ..., "dialogue": [{"role": ..., "content": ...}, ...]}.'
        raise SourceError(first["msg"], file=str(path), row=number, field=field, hint=hint) from error
    return line


def open_dialogues(path: Path | None, *, by_order: bool = False) -> DialogueSource:
    """The source that settings name. Errors: `SourceError` with file, row and field."""
    return GeneratedDialogues() if path is None else FileDialogues(path, by_order=by_order)


def write_out(script: Script, speakers: tuple[str, str, str], draw: int) -> str:
    """The script as a model would write it: `draw` picks one of the four speaker prefixes and of four separators.

    One dialogue in eight mixes prefixes from line to line.
    """
    separator = SEPARATORS[draw & 3]
    ends = PREFIX_ENDS if draw >> 4 & 7 == 0 else (PREFIX_ENDS[draw >> 2 & 3],)
    return separator.join(f"{speakers[who]}{ends[i % len(ends)]}{text}" for i, (who, text) in enumerate(script))
