"""What the labelling page's server answers: who may ask, and what for. Nothing here listens; `server.py` does."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from smile_async.chatbot.ballots import Ballots
from smile_async.chatbot.votes import Vote, VoteStore
from smile_async.errors import StoppedError

LONGEST_BODY = 4096  # bytes of a vote
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
PAGE, FILES = "page.html", ("page.css", "page.js", "words.js", "icon.svg")
SPEAKERS: Mapping[str, Literal["client", "counselor"]] = {"user": "client", "assistant": "counselor"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
ALWAYS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""Headers of every answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request without its body; header names in lower case, a header that came twice as its values joined by a
    comma."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    body: bytes
    kind: str = "application/json"
    cookie: str | None = None


class _Told(BaseModel):
    """A vote as the page sends it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    rater: str
    case: str
    pair: str
    choice: str


class VotingDesk:
    """Answers requests for one draw of ballots. `raters` are secrets by name, `hosts` the only names that the server
    goes by, each with its port."""

    def __init__(self, ballots: Ballots, store: VoteStore, raters: Mapping[str, str], hosts: frozenset[str]) -> None:
        self._ballots = ballots
        self._store = store
        self._raters = dict(raters)
        self._hosts = hosts
        self._cookie = f"smile-vote-{ballots.drawn}"  # cookies do not tell ports apart
        here = files("smile_async.chatbot.voting")
        self._files = {f"/{name}": (here / name).read_bytes() for name in FILES}
        self._page = (here / PAGE).read_bytes()

    def __repr__(self) -> str:
        return f"<VotingDesk [{len(self._raters)} raters, {self._ballots!r}]>"

    def refuses(self, asked: Asked) -> Answer | None:
        """What is wrong with a request before its body is read; None: nothing."""
        if asked.headers.get("host", "").lower() not in self._hosts:
            return _no(HTTPStatus.MISDIRECTED_REQUEST, "This server goes by another name.")
        path = urlsplit(asked.target).path
        origin = asked.headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}" for host in self._hosts}:
            return _no(HTTPStatus.FORBIDDEN, "Another site's page may not ask here.")
        if asked.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} and path != "/":
            return _no(HTTPStatus.FORBIDDEN, "Another site's page may not ask here.")
        if self._rater(asked) is None:
            return _no(HTTPStatus.FORBIDDEN, "Open the link that smile vote printed for you.")
        return _unfit_to_write(asked, path) if asked.method == "POST" else None

    def answer(self, asked: Asked, body: bytes = b"") -> Answer:
        """The answer to a request that `refuses` let pass, or what it refused with."""
        if (refusal := self.refuses(asked)) is not None:
            return refusal
        rater = self._rater(asked)
        assert rater is not None
        match asked.method, urlsplit(asked.target).path:
            case "GET", "/":
                return Answer(HTTPStatus.OK, self._page, KINDS["html"], self._cookie_for(rater))
            case "GET", path if path in self._files:
                return Answer(HTTPStatus.OK, self._files[path], KINDS[path.rpartition(".")[2]])
            case "GET", "/api/study":
                return Answer(HTTPStatus.OK, orjson.dumps(self._study(rater)))
            case "POST", "/api/vote":
                return self._vote(rater, body)
            case _:
                return _no(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _rater(self, asked: Asked) -> str | None:
        """Whose secret came, in the link or in the cookie; the link wins, so that a second rater can use a browser."""
        for given in (_token(asked.target), self._from_cookie(asked.headers.get("cookie", ""))):
            found = None
            for name, secret in self._raters.items():  # every one is compared, in the same time
                if secrets.compare_digest(secret.encode(), given.encode()):
                    found = name
            if found is not None or given:
                return found
        return None

    def _from_cookie(self, header: str) -> str:
        """`http.cookies` gives up at a cookie of another program's on this host that is not as it should be."""
        for one in header.split(";"):
            name, _, value = one.strip().partition("=")
            if name == self._cookie:
                return value
        return ""

    def _cookie_for(self, rater: str) -> str:
        return f"{self._cookie}={self._raters[rater]}; Path=/; HttpOnly; SameSite=Strict"

    def _study(self, rater: str) -> dict[str, Any]:
        votes: dict[str, dict[str, str]] = {}
        for vote in self._store.cast_so_far(rater):
            votes.setdefault(vote.case, {})[vote.pair] = vote.choice
        ballots = [
            {
                "case": ballot.case,
                "history": [{"who": SPEAKERS[one.role], "text": one.content} for one in ballot.history],
                "responses": [{"letter": one.letter, "text": one.text} for one in ballot.responses],
            }
            for ballot in self._ballots.ballots
        ]
        told = {"rater": rater, "letters": self._ballots.letters, "pairs": self._ballots.pairs}
        return told | {"ties": self._ballots.ties, "ballots": ballots, "votes": votes}

    def _vote(self, rater: str, body: bytes) -> Answer:
        try:
            told = _Told.model_validate(orjson.loads(body))
        except (orjson.JSONDecodeError, ValidationError):
            return _no(HTTPStatus.BAD_REQUEST, "This is no vote.")
        if told.rater != rater:  # another rater's link was opened in this browser since
            return _no(HTTPStatus.CONFLICT, f"This browser is {rater}'s now.")
        if not self._ballots.allows(told.case, told.pair, told.choice):
            return _no(HTTPStatus.BAD_REQUEST, "There is no such choice.")
        try:
            self._store.cast(Vote(rater, told.case, told.pair, told.choice))
        except StoppedError as error:
            return _no(HTTPStatus.INSUFFICIENT_STORAGE, error.message)
        return Answer(HTTPStatus.OK, b'{"saved":true}')


def _unfit_to_write(asked: Asked, path: str) -> Answer | None:
    if path != "/api/vote":
        return _no(HTTPStatus.NOT_FOUND, "There is nothing here.")
    if "origin" not in asked.headers:
        return _no(HTTPStatus.FORBIDDEN, "A vote comes from the page.")
    if asked.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _no(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "A vote is JSON.")
    length = asked.headers.get("content-length", "")
    if "transfer-encoding" in asked.headers or not (length.isascii() and length.isdigit()):
        return _no(HTTPStatus.LENGTH_REQUIRED, "A vote says how long it is.")
    if len(length) > len(str(LONGEST_BODY)) or int(length) > LONGEST_BODY:
        return _no(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "A vote is shorter.")
    return None


def _token(target: str) -> str:
    parts = urlsplit(target)
    return parse_qs(parts.query).get("token", [""])[0] if parts.path == "/" else ""


def _no(status: HTTPStatus, why: str) -> Answer:
    return Answer(status, orjson.dumps({"error": why}))
