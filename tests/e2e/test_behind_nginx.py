"""Whole runs against a simulated endpoint behind nginx with TLS, and through a proxy with a password."""

from collections import Counter
from pathlib import Path

import pytest
import trustme

from tests.e2e.processes import read_jsonl, simulator, smile, started, until
from tests.e2e.questions import questions, write_jsonl
from tests.provider.debian import Daemon, nginx, tinyproxy
from tests.provider.ways import Authority

pytestmark = pytest.mark.e2e

ROWS, IN_FLIGHT = 1_500, 64
PASSWORD = "hush-hush-secret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(trustme.CA(), tmp_path_factory.mktemp("ca"))


def _where(front: Daemon) -> tuple[str, ...]:
    return "--base-url", front.url().removesuffix("/chat/completions"), "--model", "simulated"


def _holds_every_row_once(run: Path) -> None:
    assert [line["questionID"] for line in read_jsonl(run / "corpus.jsonl")] == [
        row["questionID"] for row in questions(ROWS)
    ]


def test_connections_that_serve_three_requests_and_reloads_cost_no_row(tmp_path: Path, authority: Authority) -> None:
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), tmp_path / "run"
    packed = "gzip on; gzip_proxied any; gzip_types application/json;"
    with (
        simulator("--latency", "base=0.05") as server,
        nginx(
            tmp_path / "nginx",
            upstream=server.port,
            chain=authority.chain(),
            outside="keepalive_requests 3; keepalive_timeout 1s;",
            inside=packed,
        ) as front,
    ):
        command = ("generate", str(source), str(run), *_where(front), "--concurrency", str(IN_FLIGHT), "--json")
        with started(*command, env={"SSL_CERT_FILE": str(authority.pem)}) as process:
            for served in (300, 600, 900):
                until(lambda served=served: server.counted("served") >= served)  # type: ignore[misc]
                front.reload()
            ended = process.finish()
        stats = server.settled()

    assert ended.code == 0, ended.err
    told = ended.told
    assert told["rows"]["accepted"] == told["replies"] == ROWS
    # What a reload cut off had not reached the server: it answered each row once, and was asked nothing twice.
    assert stats["requests"] == stats["served"]["completions"] == ROWS
    assert told["attempts"] - ROWS == told["perhaps_billed"] <= 3 * IN_FLIGHT
    _holds_every_row_once(run)


def test_a_certificate_that_nobody_knows_stops_the_run_and_nothing_was_billed(
    tmp_path: Path, authority: Authority
) -> None:
    source, config = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), tmp_path / "smile.toml"
    config.write_text("[retry]\nfirst_patience = 1.0\nfirst_wait = 0.2\n")
    with (
        simulator() as server,
        nginx(tmp_path / "nginx", upstream=server.port, chain=authority.chain()) as front,
    ):
        stopped = smile(
            "generate", str(source), str(tmp_path / "run"), *_where(front), "--config", str(config), "--json",
            env={"SSL_CERT_FILE": ""},
        )  # fmt: skip
        assert server.counted("requests") == 0
    assert stopped.code == 4, stopped.err
    told = stopped.told
    assert (told["reason"], told["rows"]["set_aside"], told["perhaps_billed"]) == ("connect", 0, 0)
    assert "set SSL_CERT_FILE to the PEM file" in stopped.err
    assert "Traceback" not in stopped.err


def test_a_run_through_a_proxy_with_a_password_ends_whole_and_shows_it_nowhere(
    tmp_path: Path, authority: Authority
) -> None:
    source, run = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), tmp_path / "run"
    config = tmp_path / "smile.toml"
    config.write_text("[retry]\nfirst_wait = 0.1\nmax_wait = 0.4\n")
    with (
        simulator("--latency", "base=0.05") as server,
        nginx(tmp_path / "nginx", upstream=server.port, chain=authority.chain()) as front,
        tinyproxy(tmp_path / "proxy", user="somebody", password=PASSWORD) as proxy,
    ):
        proxied = {
            "SSL_CERT_FILE": str(authority.pem),
            "HTTPS_PROXY": f"http://somebody:{PASSWORD}@127.0.0.1:{proxy.port}",
        }
        command = ("generate", str(source), str(run), *_where(front), "--concurrency", str(IN_FLIGHT), "--json")
        with started(*command, "--verbose", "--config", str(config), env=proxied) as process:
            until(lambda: server.counted("served") >= ROWS // 3)
            proxy.kill()
            with tinyproxy(tmp_path / "proxy", user="somebody", password=PASSWORD, port=proxy.port):
                ended = process.finish()
        stats = server.settled()
    assert ended.code == 0, ended.err
    told = ended.told
    assert told["rows"]["accepted"] == told["replies"] == ROWS
    assert ROWS <= stats["requests"] <= ROWS + IN_FLIGHT, "what the proxy took along with it was asked again"
    _holds_every_row_once(run)
    said = [ended.out.encode(), ended.err.encode(), *(file.read_bytes() for file in run.iterdir())]
    assert not [place for place in said if PASSWORD.encode() in place]


FAULTS = """
split_clients "$request_id" $fault {
    5% closed; 5% page; 5% empty; 5% unavailable; 5% broken; 5% slow; * none;
}
log_format faults "$fault";
"""
MEETS = """
access_log {log} faults;
default_type application/json;
if ($fault = closed) { return 444; }
if ($fault = page) { return 200 "<html>Welcome to nginx!</html>"; }
if ($fault = empty) { return 200; }
if ($fault = unavailable) { return 503; }
if ($fault = broken) { return 500 '{"error": {"message": "'; }
if ($fault = slow) { set $limit_rate 20k; }
"""


def test_faults_that_nginx_injects_cost_attempts_and_no_row(tmp_path: Path, authority: Authority) -> None:
    """Of 100 requests it closes on 5 without an answer (444), answers 5 with a page, 5 with nothing, 5 with a 503, 5 with
    a 500 whose body is cut, and drips 5 at 20 KB a second. Its log says how many of each."""
    source, run, log = write_jsonl(tmp_path / "qa.jsonl", questions(ROWS)), tmp_path / "run", tmp_path / "faults.log"
    config = tmp_path / "smile.toml"
    config.write_text("[retry]\nfirst_wait = 0.05\nmax_wait = 0.2\nmax_failures = 20\n")
    with (
        simulator("--latency", "base=0.02") as server,
        nginx(
            tmp_path / "nginx",
            upstream=server.port,
            chain=authority.chain(),
            outside=FAULTS,
            inside=MEETS.replace("{log}", str(log)),
        ) as front,
    ):
        command = ("generate", str(source), str(run), *_where(front), "--config", str(config), "--json")
        ended = smile(*command, "--concurrency", "32", env={"SSL_CERT_FILE": str(authority.pem)})
        stats = server.settled()
        front.process.terminate()
        front.process.wait()
    met = Counter(log.read_text().split())
    assert ended.code == 0, ended.err
    told = ended.told
    assert told["rows"]["accepted"] == told["replies"] == stats["requests"] == ROWS
    assert told["attempts"] == met.total()
    assert told["failures"] == {
        kind: count
        for kind, count in {
            "disconnected": met["closed"],
            "broken-body": met["page"] + met["empty"],
            "overloaded": met["unavailable"],
            "server-error": met["broken"],
        }.items()
        if count
    }
    assert told["perhaps_billed"] == met["closed"] + met["page"] + met["empty"]
    _holds_every_row_once(run)
