"""A tokenizer by its Hugging Face name, from a server on this machine that answers as the hub does."""

import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
import sentencepiece

pytestmark = pytest.mark.e2e


class Hub(ThreadingHTTPServer):
    files: dict[str, bytes]


class Answers(BaseHTTPRequestHandler):
    """HEAD and GET of `/owner/name/resolve/main/FILE`; a file that is not there is told as the hub tells it."""

    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        data = self.server.files.get(self.path)
        self.send_response(404 if data is None else 200)
        body = b"" if data is None else data
        headers = {"Content-Length": str(len(body)), "X-Repo-Commit": "0" * 40}
        headers |= {"X-Error-Code": "EntryNotFound"} if data is None else {"ETag": hashlib.sha256(body).hexdigest()}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        return body

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Holds `a/glm` as ChatGLM2-6B's repository is: a SentencePiece model and no tokenizer.json."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["睡不好怎么办", "怎么办睡不好", "好好睡觉"] * 9),
        model_writer=model,
        vocab_size=16,
        model_type="char",
        minloglevel=2,
    )
    with Hub(("127.0.0.1", 0), Answers) as server:
        server.files = {"/a/glm/resolve/main/tokenizer.model": model.getvalue()}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def _diversity(hub: Hub, folder: Path, name: str, *, offline: bool = False) -> subprocess.CompletedProcess[str]:
    corpus = folder / "corpus.jsonl"
    corpus.write_bytes(orjson.dumps({"dialogue": [{"role": "client", "content": "睡不好"}]}) + b"\n")
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": str(int(offline)),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "smile_async.cli", "diversity", str(corpus), "--tokenizer", name, "--json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_repository_without_tokenizer_json_gives_its_sentencepiece_model(hub: Hub, tmp_path: Path) -> None:
    ended = _diversity(hub, tmp_path, "a/glm")
    assert ended.returncode == 0, ended.stderr
    told = orjson.loads(ended.stdout)
    assert (told["tokenizer"], told["total_1"]) == ("a/glm", 4)  # SentencePiece's space, 睡, 不, 好
    assert orjson.loads(_diversity(hub, tmp_path, "a/glm", offline=True).stdout) == told  # from the cache
    other = _diversity(hub, tmp_path, "b/other", offline=True)
    assert other.returncode == 2
    assert "by hand" in other.stderr


def test_a_repository_without_tokenizer_says_what_was_looked_for(hub: Hub, tmp_path: Path) -> None:
    ended = _diversity(hub, tmp_path, "b/none")
    assert ended.returncode == 2
    assert "tokenizer.model" in ended.stderr
    assert "Traceback" not in ended.stderr
