"""Files of one JSON object a line, each with an id and a text: a system's responses, or the cases' references."""

from pathlib import Path

import orjson

from smile_async.errors import SourceError
from smile_async.provider.thinking import without_thinking

LARGEST = 256 * 1024 * 1024  # bytes of a file that is read whole
RESPONSE, REFERENCE = "response", "reference"
RESPONSES = "responses.jsonl"  # in a run's folder


def read_texts(path: Path, field: str = RESPONSE) -> dict[str, str]:
    """JSONL of {id, `field`, ...}: the texts by id, in the file's order; a number as id is the same as its digits.

    Of a response, the thoughts that a reasoning model put before it are no part. The folder of a run of `smile respond`
    is as good as its file. Raises `SourceError` with the line; never with what stands there, for that may be a person's
    words.
    """
    if field == RESPONSE and (path / RESPONSES).is_file():
        path = path / RESPONSES
    found: dict[str, str] = {}
    for number, line in enumerate(read_whole(path).splitlines(), 1):  # bytes: only \n and \r end a line
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise SourceError("is not JSON", file=str(path), row=number, hint="One JSON object a line.") from None
        name, text = (row.get("id"), row.get(field)) if isinstance(row, dict) else (None, None)
        if not isinstance(name, str | int) or isinstance(name, bool) or name == "" or not isinstance(text, str):
            raise SourceError(f"needs an id and a text {field!r}", file=str(path), row=number)
        if str(name) in found:
            raise SourceError(f"the id {name!r} occurs twice", file=str(path), row=number)
        found[str(name)] = without_thinking(text) if field == RESPONSE else text
    return found


def read_whole(path: Path) -> bytes:
    """Errors: `SourceError`."""
    try:
        if path.stat().st_size > LARGEST:
            raise SourceError(f"is larger than {LARGEST:,} bytes", file=str(path))
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror}", file=str(path), hint="Check the path.") from None
