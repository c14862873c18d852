"""`smile vote` as a process of its own, and a rater without a browser."""

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.e2e.processes import SMILE, clean_environment


@dataclass(frozen=True, slots=True)
class Voting:
    """A server that takes votes; `links` by rater."""

    child: subprocess.Popen[str]
    links: dict[str, str]

    @property
    def port(self) -> int:
        port = urlsplit(next(iter(self.links.values()))).port
        assert port is not None
        return port

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


@contextmanager
def voting(ballots: Path, *raters: str, port: int = 0) -> Iterator[Voting]:
    """`smile vote`, serving until the block ends."""
    named = [flag for rater in raters for flag in ("--rater", rater)]
    command = [*SMILE, "vote", str(ballots), "--port", str(port), *named]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=clean_environment()
    ) as child:
        assert child.stdout is not None
        try:
            lines = [child.stdout.readline().rstrip("\n") for _ in raters]
            assert all("\thttp://127.0.0.1:" in line for line in lines), lines
            yield Voting(child, dict(line.split("\t") for line in lines))
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)


class Rater:
    """Speaks HTTP as the page does, over one connection that stays open while the block runs."""

    def __init__(self, link: str) -> None:
        parts = urlsplit(link)
        assert parts.port is not None
        self.host = f"127.0.0.1:{parts.port}"
        self.token = parse_qs(parts.query)["token"][0]
        self.connection = HTTPConnection("127.0.0.1", parts.port, timeout=30)
        answer = self.ask("GET", f"/?{parts.query}")
        self.cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        self.study: dict[str, Any] = json.loads(self.ask("GET", "/api/study").body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, method: str, target: str, body: bytes | None = None, **headers: str) -> "Told":
        sent = {"cookie": getattr(self, "cookie", "")} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        self.connection.request(method, target, body, sent)
        return Told.of(self.connection.getresponse())

    def vote(self, case: str, pair: str, choice: str) -> int:
        """The status; 200: it is on the disk."""
        vote = {"rater": self.study["rater"], "case": case, "pair": pair, "choice": choice}
        origin = f"http://{self.host}"
        return self.ask(
            "POST", "/api/vote", json.dumps(vote).encode(), origin=origin, content_type="application/json"
        ).status


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, answer: HTTPResponse) -> "Told":
        with closing(answer):
            return cls(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def getheader(self, name: str) -> str | None:
        return self.headers.get(name)
