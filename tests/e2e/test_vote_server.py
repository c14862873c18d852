"""The labelling page's server as a process: over the wire, killed in the middle, started again."""

import socket
import threading
from http.client import HTTPException
from pathlib import Path

import pytest

from smile_async.chatbot.ballots import read_ballots, write_ballots
from smile_async.chatbot.votes import Vote, VoteStore, read_votes
from smile_async.chatbot.voting.desk import ALWAYS
from tests.chatbot.study import study
from tests.e2e.processes import smile
from tests.e2e.voting import Rater, voting

pytestmark = pytest.mark.e2e
NAMES = ("Ann", "Bo", "陈老师")
CASES = 60


@pytest.fixture
def ballots(tmp_path: Path) -> Path:
    write_ballots(study(CASES), tmp_path / "study.json", tmp_path / "study.key.json")
    return tmp_path / "study.json"


def test_what_the_wire_brings_is_answered_within_bounds(ballots: Path) -> None:
    with voting(ballots, "Ann") as server, Rater(server.links["Ann"]) as rater:
        study_ = rater.ask("GET", "/api/study")
        assert study_.status == 200
        assert {name: study_.headers[name] for name in ALWAYS} == ALWAYS
        assert "server" not in study_.headers
        assert rater.ask("GET", "/api/study", host="evil.example").status == 421
        assert rater.vote("case-0", "AB", "A") == 200
        origin = f"http://{rater.host}"
        for body, headers, status in [
            (b"{}", {"origin": "http://evil.example", "content_type": "application/json"}, 403),
            (b"x" * 5000, {"origin": origin, "content_type": "application/json"}, 413),
            (b"{}", {"origin": origin, "content_type": "text/plain"}, 415),
        ]:
            with Rater(server.links["Ann"]) as fresh:  # a refusal ends its connection: the body was not read
                refused = fresh.ask("POST", "/api/vote", body, **headers)
            assert (refused.status, refused.headers["connection"]) == (status, "close")
        assert rater.ask("DELETE", "/api/vote").status == 501
        assert _raw(server.port, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert b" 414 " in _raw(server.port, b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n")
        assert b" 431 " in _raw(server.port, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300 + b"\r\n")
    assert len(read_votes(ballots.with_name("study.votes.sqlite3")).votes) == 1


def _raw(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        told = b""
        try:
            while chunk := connection.recv(65536):
                told += chunk
        except ConnectionResetError:  # what it had not read when it closed
            pass
        return told


def test_it_listens_on_this_machine_alone(ballots: Path) -> None:
    with voting(ballots, "Ann") as server:
        other = "127.0.0.2"  # this machine, another address: whoever listens on all of them would answer
        with pytest.raises(OSError), socket.create_connection((other, server.port), timeout=5):
            pass


def test_a_kill_in_the_middle_loses_no_vote_that_was_acknowledged(ballots: Path) -> None:
    """Three raters vote as fast as they can until the server is killed; then what each was told is saved is there, and
    at most the one vote that each was waiting for besides."""
    acknowledged: dict[str, list[tuple[str, str, str]]] = {name: [] for name in NAMES}
    enough = threading.Event()

    def work(name: str, link: str) -> None:
        with Rater(link) as rater:
            go_on(name, rater)

    def go_on(name: str, rater: Rater) -> None:
        for ballot in rater.study["ballots"]:
            for pair in rater.study["pairs"]:
                vote = (ballot["case"], pair, pair[len(acknowledged[name]) % 2])
                try:
                    if rater.vote(*vote) != 200:
                        return
                except (OSError, HTTPException):
                    return
                acknowledged[name].append(vote)
                if sum(map(len, acknowledged.values())) > 60:
                    enough.set()

    with voting(ballots, *NAMES) as server:
        threads = [threading.Thread(target=work, args=item) for item in server.links.items()]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        server.kill()
        for thread in threads:
            thread.join(30)
        port, links = server.port, server.links
    assert 60 < sum(map(len, acknowledged.values())) < 3 * CASES * 3  # it was the middle
    for name in NAMES:
        kept = _kept(ballots, name)
        assert set(acknowledged[name]) <= kept
        assert len(kept) <= len(acknowledged[name]) + 1
    with voting(ballots, *NAMES, port=port) as server, Rater(links["Bo"]) as rater:
        assert server.links == links
        assert {
            (case, pair, choice) for case, told in rater.study["votes"].items() for pair, choice in told.items()
        } == (_kept(ballots, "Bo"))
        assert rater.vote("case-0", "AB", "B") == 200


def _kept(ballots: Path, name: str) -> set[tuple[str, str, str]]:
    votes = read_votes(ballots.with_name("study.votes.sqlite3")).votes
    return {(vote.case, vote.pair, vote.choice) for vote in votes if vote.rater == name}


def test_a_port_that_is_taken_and_other_peoples_votes_are_refused_with_a_way_out(ballots: Path, tmp_path: Path) -> None:
    with voting(ballots, "Ann") as server:
        taken = smile("vote", str(ballots), "--port", str(server.port))
        assert (taken.code, "Choose another --port" in taken.err) == (2, True)
    with VoteStore.open(tmp_path / "study.votes.sqlite3", read_ballots(ballots)) as store:
        store.cast(Vote("Ann", "case-0", "AB", "A"))
    write_ballots(study(3, seed=8), tmp_path / "other.json", tmp_path / "other.key.json")
    mixed = smile("vote", str(tmp_path / "other.json"), "--votes", str(tmp_path / "study.votes.sqlite3"), "--port", "0")
    assert (mixed.code, "other ballots" in mixed.err) == (2, True)
