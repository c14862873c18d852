"""A JSON array of rows (PsyQA's form), in constant memory.

Rows are parsed many at a time by orjson as long as all is as it should be: a part of the file is cut where a row ends
and the next begins, and that it was cut there and not inside a row, the parser tells. What is odd goes through ijson,
which is fed piece by piece and finds the place: a part with a row that cannot be used, and all that follows an error.

yajl, ijson's C parser, turns a lone surrogate such as `\\ud800` into "?" and joins a high surrogate with whatever
escape follows it. Both would change people's words in silence, so escapes are paired here before yajl sees them.
"""

import re
from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any

import orjson

from smile_async.dialogue.model import QAPair
from smile_async.source.files import CHUNK, MAX_ROW_BYTES, Broken, SourceFile
from smile_async.source.rows import LONE_SURROGATE, SURROGATE_HINT, ColumnMapping, RowProblem, rows_of
from smile_async.source.shapes import Shapes

_SPACE = b" \t\r\n"
_OPENING = re.compile(rb'\{[ \t\r\n]*"[^"\\]*"[ \t\r\n]*:')
_BETWEEN = re.compile(rb"\}([ \t\r\n]*,[ \t\r\n]*)\Z")
_LONGEST_BETWEEN = 256  # bytes looked at between two rows
_TRIES = 32  # places at which a row may end that are tried: answers of the last row may look like rows

# An escape of one character, a whole surrogate pair, or one half of a pair; tried in this order from left to right.
_ESCAPE = re.compile(
    rb"\\(?:[^u]|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u(?P<half>[dD][89a-fA-F][0-9a-fA-F]{2})|u)",
    re.DOTALL,
)
_REPLACEMENT = rb"\ufffd"  # as long as the half that it stands for: yajl does not stop at it

LONE = RowProblem(LONE_SURROGATE, hint=SURROGATE_HINT)
_STRUCTURE_HINT = "Check it with 'python3 -m json.tool FILE'. Rows after a broken bracket or quote cannot be found."


def read_array(file: SourceFile, columns: ColumnMapping) -> Iterator[QAPair | RowProblem]:
    chunks = file.chunks()
    left = yield from _in_bulk(chunks, columns, file)
    if left:
        yield from _one_by_one(chain([left], chunks), columns, file)


def _in_bulk(
    chunks: Iterator[bytes], columns: ColumnMapping, file: SourceFile
) -> Generator[QAPair | RowProblem, None, bytes]:
    """Rows as long as the parser takes them. Returns what is left for ijson to explain, as an array; empty: nothing."""
    shapes = Shapes(columns)
    buffer = next(chunks, b"").lstrip(_SPACE)
    if not buffer.startswith(b"["):
        return buffer or b" "
    buffer = buffer[1:].lstrip(_SPACE)
    while True:
        found, end = _whole_rows(buffer)
        if found is not None:
            yield from _paired_up(found, buffer[:end], shapes, columns, file)
            buffer = buffer[end:].lstrip(_SPACE + b",")
        elif len(buffer) > 4 * CHUNK:
            return b"[" + buffer
        try:
            chunk = next(chunks, None)
        except Broken as damage:
            yield from _one_by_one(_torn(b"[" + buffer, damage), columns, file)
            raise
        if chunk is None:
            break
        buffer += chunk
    rest = buffer.rstrip(_SPACE)
    last = _parsed(rest[:-1]) if rest.endswith(b"]") else None
    if last is None:
        return b"[" + buffer
    yield from _paired_up(last, rest[:-1], shapes, columns, file)
    return b""


def _paired_up(
    items: list[Any], read_from: bytes, shapes: Shapes, columns: ColumnMapping, file: SourceFile
) -> Iterator[QAPair | RowProblem]:
    pairs = [shapes.pairs(item) for item in items]
    if None in pairs:  # ijson keeps every digit of a number, for messages and ids
        yield from _one_by_one(iter([b"[" + read_from + b"]"]), columns, file)
        return
    for each in pairs:
        yield from each or ()


def _torn(piece: bytes, damage: Broken) -> Iterator[bytes]:
    """What was read before the file could be read no more."""
    yield piece
    raise damage


def _whole_rows(buffer: bytes) -> tuple[list[Any] | None, int]:
    """The rows that are whole in `buffer`, which begins with one, and where they end; None: none is, or it is broken.

    Only an end that another object follows is taken, so that a comma before the closing bracket is not passed over.
    """
    opening = _OPENING.match(buffer)
    if opening is None:
        return None, 0
    start = len(buffer)
    for _ in range(_TRIES):
        start = buffer.rfind(opening[0], 0, start)
        if start <= 0:
            break
        between = _BETWEEN.search(buffer, max(0, start - _LONGEST_BETWEEN), start)
        if between is not None and (found := _parsed(buffer[: between.start() + 1])) is not None:
            return found, between.start() + 1
    return None, 0


def _parsed(rows: bytes) -> list[Any] | None:
    try:
        found: list[Any] = orjson.loads(b"".join((b"[", rows, b"]")))
    except orjson.JSONDecodeError:
        return None
    return found


def _one_by_one(chunks: Iterator[bytes], columns: ColumnMapping, file: SourceFile) -> Iterator[QAPair | RowProblem]:
    import ijson

    done: list[Any] = ijson.sendable_list()
    parser = ijson.items_coro(done, "item")
    tainted = False
    unfinished = 0
    for piece, taints in _paired(_quoted(chunks)):
        broken = _feed(parser, piece)
        unfinished = 0 if done else unfinished + len(piece)
        for item in done:
            rows = rows_of(item, columns)
            yield from [LONE] * len(rows) if tainted else rows
            tainted = False
        del done[:]
        tainted = tainted or taints
        if broken is not None:
            raise _explained(broken, file)
        if unfinished > MAX_ROW_BYTES:
            raise Broken(f"a row is larger than {MAX_ROW_BYTES >> 20} MiB", _STRUCTURE_HINT)
    _finish(parser, file)


def _feed(parser: Any, piece: bytes) -> Exception | None:
    from ijson.common import JSONError

    if not piece:
        return None  # for ijson an empty piece is the end
    try:
        parser.send(piece)
    except (JSONError, UnicodeDecodeError, StopIteration) as error:
        return error
    return None


def _finish(parser: Any, file: SourceFile) -> None:
    from ijson.common import JSONError

    try:
        parser.close()
    except (JSONError, UnicodeDecodeError) as error:
        raise _explained(error, file) from None


def _explained(error: Exception, file: SourceFile) -> Broken:
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    if "premature EOF" in text or "incomplete" in text.lower():
        return Broken("the file ends inside the JSON array: it is cut off", "Copy or download it again, whole.")
    if isinstance(error, UnicodeDecodeError) or "UTF8" in text:
        offset = file.first_bad_byte() if file.encoding is None else None
        return Broken(f"is not UTF-8 at byte offset {offset}", "The file is damaged or not UTF-8 throughout.")
    return Broken(f"is not valid JSON: {text.splitlines()[0] if text else error!r}", _STRUCTURE_HINT)


def _quoted(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, cut behind a quote: never inside an escape, and a pair cannot reach over a quote either."""
    rest = b""
    for chunk in chunks:
        block = rest + chunk
        end = block.rfind(b'"') + 1
        if not end and len(block) > MAX_ROW_BYTES:
            raise Broken(f"{MAX_ROW_BYTES >> 20} MiB without a quote are no rows of text", _STRUCTURE_HINT)
        rest = block[end:]
        if end:
            yield block[:end]
    if rest:
        yield rest


def _paired(pieces: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Pieces for the parser; True: the row that is unfinished at the end of this piece holds half of a pair."""
    for piece in pieces:
        start = 0
        if b"\\u" in piece and (b"\\ud" in piece or b"\\uD" in piece):
            for escape in _ESCAPE.finditer(piece):
                if escape.group("half") is not None:
                    yield piece[start : escape.start()], True
                    yield _REPLACEMENT, False
                    start = escape.end()
        yield piece[start:], False
