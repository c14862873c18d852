"""A source file as UTF-8 bytes in pieces of bounded size: decompressed, recoded, without its byte order mark."""

import codecs
import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from smile_async.errors import SourceError
from smile_async.source.rows import RowProblem

CHUNK = 1 << 18  # bytes read at a time
HEAD = 1 << 16  # bytes looked at before the first row is read
MAX_ROW_BYTES = 16 << 20  # a "row" beyond this is damage, not data

ENCODING_HINT = "Sources are UTF-8. Say what it is (--encoding gb18030 for GBK; encoding= from Python), or use iconv."


class Broken(Exception):  # noqa: N818 - never leaves this folder: the source turns it into a SourceError with its row
    """Nothing can be read from here on, so this cannot be skipped as one bad row. `whole`: not one row's fault."""

    def __init__(self, problem: str, hint: str = "", *, whole: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint
        self.whole = whole


@dataclass(frozen=True, slots=True)
class SourceFile:
    """`encoding` None: UTF-8, checked. `name` is the path as the user wrote it."""

    path: Path
    name: str
    encoding: str | None = None

    @property
    def compressed(self) -> bool:
        return self.path.suffix.lower() == ".gz"

    @property
    def extension(self) -> str:
        """Of the data inside: `.jsonl` for `qa.jsonl.gz`."""
        path = self.path.with_suffix("") if self.compressed else self.path
        return path.suffix.lower()

    def open(self) -> BinaryIO:
        if self.compressed:
            return cast("BinaryIO", gzip.open(self.path, "rb"))
        return self.path.open("rb")

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """The data as UTF-8; never an empty piece. Raises `Broken` where it can no longer be read."""
        with self.open() as stream:
            pieces = _pieces(stream, size)
            yield from _without_mark(pieces) if self.encoding is None else _recoded(pieces, self.encoding)

    def first_byte(self) -> int:
        """Offset at which the text begins: behind the byte order mark, if there is one."""
        with self.open() as stream:
            return 3 if stream.read(3) == codecs.BOM_UTF8 else 0

    def first_bad_byte(self) -> int | None:
        """Offset of the first byte that is not UTF-8, for the message; reads the file from its start."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        offset = 0
        with self.open() as stream:
            for piece in _pieces(stream, CHUNK):
                pending = len(decoder.getstate()[0])
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError as error:
                    return offset - pending + error.start
                offset += len(piece)
        return None


def _pieces(stream: BinaryIO, size: int) -> Iterator[bytes]:
    try:
        while piece := stream.read(size):
            yield piece
    except EOFError:
        raise Broken("the compressed file is cut off", "Copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise Broken(f"the compressed file is damaged: {error}", "Copy or download it again.") from None
    except OSError as error:
        raise Broken(f"the file cannot be read: {error.strerror or error}") from None


def _without_mark(pieces: Iterator[bytes]) -> Iterator[bytes]:
    first = next(pieces, b"").removeprefix(codecs.BOM_UTF8)
    if first:
        yield first
    yield from pieces


def _recoded(pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, start = 0, True
    try:
        for piece in pieces:
            text = decoder.decode(piece)
            offset += len(piece)
            if text:
                yield (text.removeprefix("\ufeff") if start else text).encode()
                start = False
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        place = getattr(error, "start", 0)
        raise Broken(f"bytes from about {offset + place} on are not {encoding}", "Name the right encoding.") from None


def check_file(file: SourceFile) -> bytes:
    """The first bytes of the data, after the checks that cost nothing; `SourceError` says what is wrong."""
    if not file.path.exists():
        raise SourceError("there is no such file", file=file.name, hint="Check the path.")
    if not file.path.is_file():
        raise SourceError("is not a file", file=file.name, hint="Name one JSON, JSONL, CSV or Parquet file.")
    if file.encoding is not None:
        _check_codec(file)
    try:
        with file.open() as stream:
            head = next(_pieces(stream, HEAD), b"")
        if file.encoding is None:
            _check_text(file, head)
        data = next(file.chunks(HEAD), b"")
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}", file=file.name) from None
    except Broken as broken:
        raise SourceError(broken.problem, file=file.name, hint=broken.hint) from None
    if not data.strip():
        raise SourceError("the file is empty", file=file.name, hint="A source needs at least one row.")
    return data


def _check_codec(file: SourceFile) -> None:
    try:
        "".encode(file.encoding or "utf-8")
        codecs.getincrementaldecoder(file.encoding or "utf-8")
    except LookupError:
        raise SourceError(
            f"{file.encoding!r} is no text encoding", file=file.name, hint="Such as 'utf-8', 'gb18030', 'utf-16'."
        ) from None


def _check_text(file: SourceFile, head: bytes) -> None:
    """UTF-16, GB18030 and the like show in the first bytes; Parquet is no text and is not asked."""
    if head.startswith(b"PAR1"):
        return
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SourceError(
            "the file is UTF-16 (byte offset 0)", file=file.name, hint="Say --encoding utf-16 (encoding= from Python)."
        )
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"is not UTF-8: byte 0x{head[error.start]:02x} at offset {error.start}", file=file.name, hint=ENCODING_HINT
        ) from None


def check_array(file: SourceFile, head: bytes) -> None:
    """A JSON array that was cut off is told by its end, before anything is spent on its rows."""
    if not head.lstrip().startswith(b"["):
        raise SourceError(
            "is no JSON array (the first character is not '[')",
            file=file.name,
            hint="PsyQA's form is '[{...}, {...}]'; for one object a line say format='jsonl'.",
        )
    if file.compressed or file.encoding is not None:
        return  # the end of these is seen only by reading them
    with file.path.open("rb") as stream:
        stream.seek(max(0, file.path.stat().st_size - HEAD))
        tail = stream.read().rstrip()
    if tail and not tail.endswith(b"]"):
        raise SourceError(
            "the JSON array has no end (the last character is not ']'): the file is cut off",
            file=file.name,
            hint="Copy or download it again, whole.",
        )


TOO_LONG = RowProblem(
    f"the line is longer than {MAX_ROW_BYTES >> 20} MiB",
    hint="No question and answer are that long.",
)


def lines(chunks: Iterator[bytes], offset: int = 0) -> Iterator[tuple[int, bytes | RowProblem]]:
    """(byte offset, line with its line break); the last line may lack one. A line above `MAX_ROW_BYTES` is a problem
    and its bytes are dropped, not kept."""
    rest, dropped = b"", 0
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield offset, TOO_LONG if dropped or len(line) > MAX_ROW_BYTES else line + b"\n"
            offset += dropped + len(line) + 1
            dropped = 0
        if dropped or len(rest) > MAX_ROW_BYTES:
            dropped += len(rest)
            rest = b""
    if dropped or rest:
        yield offset, TOO_LONG if dropped else rest


def digest(path: Path) -> str:
    """Of size, head and tail: cheap on a file of any size, for information only."""
    size = path.stat().st_size
    state = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as stream:
        state.update(stream.read(HEAD))
        stream.seek(max(HEAD, size - HEAD))
        state.update(stream.read(HEAD))
    return state.hexdigest()
