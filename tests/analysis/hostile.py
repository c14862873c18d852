"""Text that wants to be more than text, and a run whose models, servers and names all write it."""

import asyncio
from pathlib import Path
from threading import Thread
from typing import Any

from smile_async.engine.job import Failure, FailureKind, Reply, Request
from smile_async.options import Options
from smile_async.pipeline import generate_corpus
from smile_async.settings import RetryPolicy
from smile_async.testing import ScriptedProvider, replying

HOSTILE = (
    "</script><script>window.pwned=1</script>",
    "</ScRiPt ><img src=http://elsewhere.example/a.png onerror=window.pwned=2>",
    "<!--<script>window.pwned=3",
    '"><svg/onload=window.pwned=4><style>*{display:none!important}</style>',
    "<iframe srcdoc='<script>parent.pwned=5</script>'></iframe>",
    "]]></title></textarea><base href=http://elsewhere.example/><meta http-equiv=refresh content=0;url=http://elsewhere.example/>",
    'a\u2028b\u2029c\u202edlrow\u202c &lt;b&gt; &amp;amp; \\u003cscript\\u003e \\" ${window.pwned=6} {{7*7}} $data $$',
    "javascript:window.pwned=7 data:text/html,<script>window.pwned=8</script>",
    "没有空格的话" * 300,
    "W" * 3_000,
    "\u0000\u0001\ufeff\ud7ff 😀‍👩‍👩‍👧",
)
FOLDER = "<img src=x onerror=window.pwned=9> & 'run'"  # a folder's name may be so much


def hostile_run(folder: Path) -> Path:
    """Six rows: three accepted, two rejected for no speaker, one that its server's filter refuses."""
    texts = [text for text in HOSTILE if "\n" not in text]

    def answer(request: Request, _number: int) -> Reply | Failure:
        row = int(request.messages[-1].content.partition("第")[2].partition("号")[0])
        if row == 5:
            return Failure(FailureKind.CONTENT_FILTER, f"HTTP 400: {HOSTILE[0]}", status=400)
        said = [texts[(row + place) % len(texts)] for place in range(12)]
        labels = ("求助者: ", "支持者: ")
        lines = [f"{labels[place % 2]}{said[place]}" for place in range(12)]
        if row in {3, 4}:
            lines.insert(2, HOSTILE[1])
        return replying("\n".join(lines))

    rows: list[Any] = [
        {
            "question": f"第{row}号 {HOSTILE[0]}",
            "description": HOSTILE[3],
            "answer": HOSTILE[4],
            "questionID": HOSTILE[1],
        }
        for row in range(6)
    ]
    out = folder / FOLDER
    options = Options(recipe="smile", retry=RetryPolicy(max_attempts=1))

    def work() -> None:
        asyncio.run(generate_corpus(rows, out, provider=ScriptedProvider(answer), options=options))

    thread = Thread(target=work)  # the browser's thread has an event loop of its own
    thread.start()
    thread.join()
    return out
