"""The head of an answer as it came, where llhttp refuses it: what it is all the same, and what can be mended. Pure.

Never asked while all is well. What others do with each malformation is in docs/transport.md.
"""

import re

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?=[ \r\n])")
_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"(\r?\ncontent-length[ \t]*:)([^\r\n]*(?:\r?\n[ \t]+[^\r\n]*)*)", re.IGNORECASE)


def final(raw: bytes | bytearray) -> int:
    """Where the head begins that interim answers (1xx) come before; 0 where there are none."""
    begins = 0
    while (found := _STATUS_LINE.match(raw, begins)) and found[1].startswith(b"1"):
        end = _END.search(raw, found.end())
        if end is None:
            break
        begins = end.end()
    return begins


def has_end(raw: bytes) -> bool:
    return _END.search(raw, final(raw)) is not None


def status_in(raw: bytes | bytearray) -> int:
    """The status of the answer; 0 where what came is no HTTP, or not enough of it."""
    raw = raw.lstrip(b"\r\n")
    found = _STATUS_LINE.match(raw, final(raw))
    return int(found[1]) if found else 0


def lengths_in(raw: bytes) -> list[bytes]:
    """Every length that the head tells, in a list or in headers of their own; one that stands there twice, twice."""
    head, _ = _parted(raw[final(raw) :])
    return [length.strip() for field in _LENGTH.finditer(head) for length in field[2].split(b",")]


def with_one_length(raw: bytes) -> bytes | None:
    """The same with its Content-Length said once, where it was said several times and always the same (RFC 9112 6.3);
    None where that is not so."""
    told = lengths_in(raw)
    if len(told) < 2 or len(set(told)) > 1 or not told[0].isdigit():
        return None
    before = final(raw)
    head, rest = _parted(raw[before:])
    first = _LENGTH.search(head)
    assert first is not None
    return raw[:before] + head[: first.end(1)] + b" " + told[0] + _LENGTH.sub(b"", head[first.end() :]) + rest


def _parted(raw: bytes) -> tuple[bytes, bytes]:
    """The head, and what follows from its end on."""
    end = _END.search(raw)
    return (raw[: end.start()], raw[end.start() :]) if end else (raw, b"")
