"""A TOML file as a person wrote it: its data, and the line on which a key stands, so that errors can name it."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smile_async.errors import RecipeError

Key = tuple[int | str, ...]
"""Where a value stands: ("format", "min_turns"), ("examples", 0, "user")."""

_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]")
_ASSIGNMENT = re.compile(r"\s*([\w.\-]+|\"[^\"]*\"|'[^']*')\s*=")


@dataclass(frozen=True, slots=True)
class Document:
    """`name` is the file as the user named it."""

    name: str
    text: str
    data: dict[str, Any]
    lines: dict[Key, int] = field(default_factory=dict)

    def place(self, key: Key) -> str:
        """`file, line 7, key 'format.min_turns'`; for a key that is missing, the line of its table."""
        line = next((self.lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in self.lines), None)
        place = self.name if line is None else f"{self.name}, line {line}"
        return f"{place}, key '{'.'.join(map(str, key))}'" if key else place


def read_document(path: Path | Traversable, name: str) -> Document:
    """Raises RecipeError, which names the file and, for broken TOML, the line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(
            f"{name}: cannot be read ({error.strerror}).", hint="Check the path; a built-in recipe has no '.toml'."
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{name}: is not UTF-8 (byte {error.start}).", hint="Save the file as UTF-8.") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"{name}: is not TOML: {error}.",
            hint="Text that holds \\n or quotes goes between three single quotes: '''...'''.",
        ) from error
    return Document(name, text, data, _lines_of_keys(text))


def _lines_of_keys(text: str) -> dict[Key, int]:
    lines: dict[Key, int] = {}
    table: Key = ()
    closing = ""  # the quotes that end the string of several lines in which we are
    for number, line in enumerate(text.splitlines(), 1):
        if closing:
            closing = "" if closing in line else closing
        elif header := _HEADER.match(line):
            table = _table(header[2], lines, in_array=header[1] == "[[")
            lines[table] = number
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault((*table, *_names(assignment[1])), number)
            rest = line[assignment.end() :]
            closing = next((quotes for quotes in ("'''", '"""') if rest.count(quotes) == 1), "")
    return lines


def _table(written: str, lines: dict[Key, int], *, in_array: bool) -> Key:
    names = _names(written)
    if not in_array:
        return names
    return (*names, sum(1 for key in lines if len(key) == len(names) + 1 and key[:-1] == names))


def _names(written: str) -> Key:
    return tuple(name.strip().strip("\"'") for name in written.split("."))


def invalid(error: ValidationError, documents: Sequence[Document], under: Key = ()) -> RecipeError:
    """Every complaint with its place. `documents` are the file and those it extends, the nearest first; `under` is
    the key below which the data that was validated stands in the file."""
    complaints: list[str] = []
    for each in error.errors(include_url=False):
        key = (*under, *each["loc"])
        home = next((document for document in documents if key in document.lines), documents[0])
        complaints.append(f"{home.place(key)}: {each['msg'].removeprefix('Value error, ')}")
    return RecipeError("\n".join(complaints), hint="The built-in recipes and examples/recipes show every key in use.")
