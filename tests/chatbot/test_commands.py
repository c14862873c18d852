"""sft, train, merge and chat from the command line."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.chatbot import tiny
from tests.cli.conftest import Smile
from tests.cli.conftest import smile as smile  # noqa: PLC0414 - the fixture

ANSWER = "愿意多说一些吗？"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Eight dialogues of two exchanges."""
    path = tmp_path / "corpus.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for n in range(8):
            said = [("client", f"睡不好{n}"), ("counselor", ANSWER), ("client", "嗯"), ("counselor", ANSWER)]
            dialogue = [{"role": role, "content": text} for role, text in said]
            file.write(json.dumps({"id": f"d{n}", "questionID": f"q{n}", "dialogue": dialogue}) + "\n")
    return path


def test_sft_writes_sessions_and_says_how_many(smile: Smile, corpus: Path) -> None:
    ended = smile("sft", corpus, "sessions", "--validation", "0.25", "--json")
    assert ended.code == 0
    told = ended.told
    assert (told["dialogues"], told["counselor_utterances"], told["train"], told["validation"]) == (8, 16, 12, 4)
    rows = Path("sessions/train.jsonl").read_text("utf-8").splitlines()
    assert json.loads(rows[0])["messages"][0]["content"].startswith("现在你扮演一位专业的心理咨询师")
    assert "12" in smile("sft", corpus, "sessions", "--validation", "0.25", "--overwrite").out


def test_sft_counts_what_the_authors_converter_mixes(smile: Smile, corpus: Path) -> None:
    """The first of eight dialogues has none before it; in the seven others both answers have fewer than nine own
    utterances behind them: 14 of 16."""
    ended = smile("sft", corpus, "sessions", "--legacy-history", "--json")
    assert ended.told["foreign"] == 14
    assert "(87.5%)" in smile("sft", corpus, "again", "--legacy-history").out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--format", "xml"), "sharegpt"),
        (("--max-tokens", "9"), "--tokenizer"),
        (("--turns", "0"), "0 turns"),
        (("--validation", "2"), "0.05"),
        (("--roles", "one"), "client,counselor"),
        (("--legacy-history", "-f", "alpaca"), "messages"),
    ],
)
def test_sft_refuses_what_cannot_be(smile: Smile, corpus: Path, flags: tuple[str, ...], told: str) -> None:
    ended = smile("sft", corpus, "sessions", *flags)
    assert ended.code == 2
    assert told in ended.err
    assert not list(Path().glob("sessions/*.jsonl"))


def test_train_refuses_what_cannot_be_before_it_loads_anything(smile: Smile) -> None:
    assert smile("train", "nowhere", "out", "--base", "x", "--precision", "int3").code == 2
    assert "rank is 0" in smile("train", "nowhere", "out", "--base", "x", "--rank", "0").err


class _Counselor(BaseHTTPRequestHandler):
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for piece in ("我在", "听\x1b[31m。"):
            event = json.dumps({"choices": [{"delta": {"content": piece}}]})
            self.wfile.write(f"data: {event}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def counselor() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server that streams one answer, and what it is asked."""
    asked: list[dict[str, Any]] = []
    handler = type("Handler", (_Counselor,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
        server.shutdown()
        thread.join()


def test_chat_asks_an_endpoint_as_section_6_does(
    smile: Smile, counselor: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, asked = counselor
    monkeypatch.setattr("sys.stdin", io.StringIO("我想死\n还在吗\n"))
    ended = smile("chat", "--base-url", url, "--model", "mechat", "--country", "cn", "--language", "zh")
    assert ended.code == 0
    assert ended.out == "我在听。\n\n我在听。\n\n"
    assert "不能代替专业帮助" in ended.err
    assert "12356" in ended.err
    assert [message["role"] for message in asked[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert (asked[0]["temperature"], asked[0]["top_p"], asked[0]["stream"]) == (0.8, 0.8, True)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--country", "zz"), "--helplines"),
        (("--turns", "0"), "--turns 0"),
        (("--language", "fr"), "zh or en"),
        (("--provider", "local", "--base", "x"), "Give one of them"),
        (("--adapter", "nowhere"), "smile train"),
        ((), "No model is named"),
    ],
)
def test_chat_refuses_what_cannot_be(smile: Smile, flags: tuple[str, ...], told: str) -> None:
    ended = smile("chat", *flags)
    assert ended.code == 2
    assert told in ended.err


@pytest.mark.e2e
@pytest.mark.filterwarnings("default")
def test_ctrl_c_in_a_training_says_what_is_saved_and_how_it_goes_on(
    smile: Smile, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 sessions in updates of 4, twice: 6 updates."""
    tiny.require("torch", "transformers", "peft", "trl", extra="train")
    base = tiny.save_model(Path("tiny"))
    smile("sft", corpus, "sessions", "--validation", "0.25", "--system", "none")
    command = ("train", "sessions", "tuned", "--base", base, "--checkpoint-steps", "2", "--evaluations", "1")
    at = 1

    def interrupt(point: Any, *_: Any) -> None:
        if point.step == at:
            raise KeyboardInterrupt

    monkeypatch.setattr("smile_async.cli.training.tell_loss", interrupt)
    early = smile(*command)
    assert early.code == 130
    assert "no checkpoint yet" in early.err
    at = 5
    late = smile(*command)
    assert late.code == 130
    assert "Saved: update 4 of 6, in tuned/checkpoints/checkpoint-4." in late.err
    assert f"Go on with: smile train sessions tuned --base {base} --checkpoint-steps 2 --evaluations 1" in late.err


@pytest.mark.e2e
@pytest.mark.filterwarnings("default")
def test_from_a_corpus_to_a_conversation(smile: Smile, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.require("torch", "transformers", "peft", "trl", extra="train")
    base = tiny.save_model(Path("tiny"))
    smile("sft", corpus, "sessions", "--validation", "0.25", "--system", "none")
    fast = ("--lr", "1e-2", "--epochs", "12", "--evaluations", "1", "--precision", "fp32")
    ended = smile("train", "sessions", "tuned", "--base", base, *fast, "--json")
    assert ended.code == 0, ended.err
    assert ended.told["validation_loss"] < ended.told["validation_loss_before"]
    assert "update 36 of 36" in ended.err  # 12 sessions in updates of 4, 12 times
    assert (
        "Talk to it: smile chat --adapter tuned/adapter"
        in smile("train", "sessions", "tuned", "--base", base, *fast).out
    )
    assert smile("merge", "tuned", "merged").out == "merged\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("睡不好3\n"))
    ended = smile("chat", "--base", "merged", "--system", "none", "--temperature", "0", "--max-tokens", "40")
    assert ended.out == f"{ANSWER}\n\n", ended.err
