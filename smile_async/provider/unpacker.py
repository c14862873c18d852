"""Bodies that came packed, unpacked as they arrive and never beyond the room there is."""

import zlib


class Unpacker:
    """gzip and deflate, as they arrive. An encoding that was not asked for raises `zlib.error` at the first byte."""

    __slots__ = ("_encoding", "_fed", "_stream")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip's or zlib's head, whichever comes
        self._fed = False

    @property
    def is_whole(self) -> bool:
        return self._stream.eof or not self._fed

    def feed(self, data: bytes, room: int) -> bytes:
        """At most `room` bytes; a full `room` means that more may be left, which is lost."""
        if self._encoding not in {"gzip", "x-gzip", "deflate"}:
            raise zlib.error(f"packed as {self._encoding!r:.40}")
        out = self._first(data, room) if not self._fed else self._stream.decompress(data, room)
        while self._stream.unused_data.startswith(b"\x1f") and len(out) < room:  # one gzip behind another
            rest, self._stream = self._stream.unused_data, zlib.decompressobj(zlib.MAX_WBITS | 32)
            out += self._stream.decompress(rest, room - len(out))
        return out

    def _first(self, data: bytes, room: int) -> bytes:
        self._fed = True
        try:
            return self._stream.decompress(data, room)
        except zlib.error:
            if self._encoding != "deflate":
                raise
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)  # some servers leave zlib's head out
            return self._stream.decompress(data, room)
