"""Who may ask the labelling page's server, and what it answers; no socket is needed to see it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smile_async.chatbot.votes import VoteStore
from smile_async.chatbot.voting.desk import ALWAYS, LONGEST_BODY, Asked, VotingDesk
from tests.chatbot.study import study

HOST = "127.0.0.1:8765"
SECRETS = {"ann": "a" * 32, "bo": "b" * 32}
DRAWN = study()
COOKIE = f"smile-vote-{DRAWN.ballots.drawn}"
HERE = {"host": HOST, "cookie": f"{COOKIE}={SECRETS['ann']}"}
SENT = HERE | {"origin": f"http://{HOST}", "content-type": "application/json", "content-length": "80"}
VOTE = {"rater": "ann", "case": "case-0", "pair": "AB", "choice": "A"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VoteStore]:
    with VoteStore.open(tmp_path / "votes.sqlite3", DRAWN.ballots) as there:
        there.enrol(SECRETS)
        yield there


@pytest.fixture
def desk(store: VoteStore) -> VotingDesk:
    return VotingDesk(DRAWN.ballots, store, SECRETS, frozenset({HOST, "localhost:8765"}))


def get(desk: VotingDesk, target: str, **changes: str) -> int:
    return desk.answer(Asked("GET", target, HERE | changes)).status


def post(desk: VotingDesk, vote: Any = VOTE, headers: dict[str, str] = SENT, target: str = "/api/vote") -> int:
    return desk.answer(Asked("POST", target, headers), json.dumps(vote).encode()).status


def test_the_link_gives_the_page_and_a_cookie_that_scripts_and_other_sites_do_not_get(desk: VotingDesk) -> None:
    answer = desk.answer(Asked("GET", f"/?token={SECRETS['bo']}", {"host": HOST}))
    assert answer.status == 200
    assert b"<!doctype html>" in answer.body
    assert answer.cookie == f"{COOKIE}={SECRETS['bo']}; Path=/; HttpOnly; SameSite=Strict"
    assert SECRETS["bo"].encode() not in answer.body


@pytest.mark.parametrize("other", ['prefs={"a": 1}', "a", "=", "a=b=c", 'q="x', "\x7f"])
def test_cookies_of_other_programs_on_this_host_do_not_hide_ours(desk: VotingDesk, other: str) -> None:
    """Cookies do not tell ports apart, and some programs write what no cookie may hold."""
    ours = f"{COOKIE}={SECRETS['ann']}"
    for cookie in (f"{other}; {ours}", f"{ours};{other}"):
        assert get(desk, "/api/study", cookie=cookie) == 200


@pytest.mark.parametrize("target", ["/", "/page.js", "/page.css", "/words.js", "/icon.svg", "/api/study"])
def test_with_the_cookie_all_is_there_and_without_nothing(desk: VotingDesk, target: str) -> None:
    assert get(desk, target) == 200
    for cookie in ("", f"{COOKIE}=wrong", f"other={SECRETS['ann']}", f"{COOKIE}={SECRETS['ann'][:-1]}", "=;=", "\x7f"):
        assert get(desk, target, cookie=cookie) == 403
    assert get(desk, "/?token=wrong") == 403
    assert desk.answer(Asked("GET", "/api/study?token=" + SECRETS["ann"], {"host": HOST})).status == 403


@pytest.mark.parametrize(
    "host", ["", "evil.example", "127.0.0.1", "127.0.0.1:80", "evil.example:8765", f"{HOST}, {HOST}", "[::1]:8765"]
)
def test_a_wrong_host_is_refused_whatever_else_is_right(desk: VotingDesk, host: str) -> None:
    """DNS rebinding: another site's name that leads here."""
    assert get(desk, "/api/study", host=host) == 421
    assert post(desk, headers=SENT | {"host": host}) == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:8765", "http://127.0.0.1", "http://127.0.0.1:9999", ""]
)
def test_a_wrong_origin_is_refused(desk: VotingDesk, store: VoteStore, origin: str) -> None:
    assert post(desk, headers=SENT | {"origin": origin}) == 403
    assert get(desk, "/api/study", origin=origin) == 403
    assert store.cast_so_far() == []


def test_a_vote_without_an_origin_is_refused(desk: VotingDesk) -> None:
    assert post(desk, headers={name: value for name, value in SENT.items() if name != "origin"}) == 403


def test_another_sites_page_can_load_nothing_but_may_link_here(desk: VotingDesk) -> None:
    for target in ("/page.js", "/api/study"):
        assert get(desk, target, **{"sec-fetch-site": "cross-site"}) == 403
    assert get(desk, "/", **{"sec-fetch-site": "cross-site"}) == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"content-type": "text/plain"}, 415),  # what a form of another site could send
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-length": str(LONGEST_BODY + 1)}, 413),
        ({"content-length": "9" * 5000}, 413),
        ({"content-length": "-1"}, 411),
        ({"content-length": "80, 80"}, 411),
        ({"content-length": "²"}, 411),
        ({"transfer-encoding": "chunked"}, 411),
    ],
)
def test_a_vote_of_another_kind_or_size_is_refused_unread(
    desk: VotingDesk, changes: dict[str, str], status: int
) -> None:
    refusal = desk.refuses(Asked("POST", "/api/vote", SENT | changes))
    assert refusal is not None
    assert refusal.status == status


def test_a_vote_is_kept_and_comes_back_with_the_study(desk: VotingDesk, store: VoteStore) -> None:
    assert post(desk) == 200
    assert post(desk, VOTE | {"choice": "B"}) == 200
    told = json.loads(desk.answer(Asked("GET", "/api/study", HERE)).body)
    assert told["rater"] == "ann"
    assert told["votes"] == {"case-0": {"AB": "B"}}
    assert [vote.rater for vote in store.cast_so_far()] == ["ann"]
    bo = json.loads(desk.answer(Asked("GET", "/api/study", HERE | {"cookie": f"{COOKIE}={SECRETS['bo']}"})).body)
    assert bo["votes"] == {}


def test_the_study_tells_raters_no_system_and_no_system_prompt(desk: VotingDesk) -> None:
    told = desk.answer(Asked("GET", "/api/study", HERE)).body.decode()
    assert not [word for word in (*DRAWN.key.systems, "SYSTEM-PROMPT", "seed", *SECRETS.values()) if word in told]


def test_nobody_votes_in_anothers_name(desk: VotingDesk, store: VoteStore) -> None:
    """Bo's link was opened in Ann's browser; her old tab still says Ann."""
    assert post(desk, headers=SENT | {"cookie": f"{COOKIE}={SECRETS['bo']}"}) == 409
    assert store.cast_so_far() == []


@pytest.mark.parametrize(
    "vote",
    [
        [], "A", {}, VOTE | {"choice": "C"}, VOTE | {"choice": "tie"}, VOTE | {"pair": "BA"}, VOTE | {"case": "case-99"},
        VOTE | {"choice": ["A"]}, VOTE | {"more": 1},
    ],
)  # fmt: skip
def test_what_is_no_vote_on_these_ballots_is_refused(desk: VotingDesk, store: VoteStore, vote: Any) -> None:
    assert post(desk, vote) == 400
    assert store.cast_so_far() == []


@pytest.mark.parametrize("target", ["/api/votes", "/../votes.py", "/desk.py", "/page.html", "//page.js", "/page.js/"])
def test_nothing_else_is_there(desk: VotingDesk, target: str) -> None:
    assert get(desk, target) == 404
    assert post(desk, target=target) == 404


def test_the_policy_allows_no_script_but_the_pages_own() -> None:
    rules = dict(rule.strip().split(" ", 1) for rule in ALWAYS["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert ALWAYS["cache-control"] == "no-store"
