"""Whole runs against a simulated endpoint behind nginx with TLS, and through a proxy with a password."""

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
        with started(*command, "--verbose", env=proxied) as process:
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
