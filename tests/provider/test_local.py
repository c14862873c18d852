"""The embedded model's server, with real processes."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from smile_async.errors import MissingExtraError, UsageError
from smile_async.prompt.recipe import load_recipe
from smile_async.provider.local import (
    LocalEndpoint,
    LocalServer,
    LocalServerError,
    local_endpoint,
    prepare_server,
    usable_cores,
)
from smile_async.provider.model_file import EMBEDDED

QUESTION = (
    "和室友作息不合，我快受不了了。",
    "她每天打游戏到半夜，我睡不着。",
    "可以一起定一份宿舍约定，写下来贴在门上。",
)


def test_slots_and_context_are_positive(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        LocalServer(tmp_path / "m.gguf", slots=0)
    with pytest.raises(UsageError):
        LocalServer(tmp_path / "m.gguf", context_per_slot=0)


def test_a_server_that_is_not_started_has_no_endpoint(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "m.gguf", slots=2)

    with pytest.raises(LocalServerError, match="not running"):
        _ = server.endpoint
    assert not server.running
    assert repr(server) == "<LocalServer m [stopped, 2 slots]>"


def test_stopping_what_was_never_started_does_nothing(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "m.gguf")
    server.stop()
    server.stop()
    assert not server.running


def test_at_least_one_core_is_usable() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)  # as where it is not installed
    with pytest.raises(MissingExtraError, match=r"smile-async\[local\]"):
        prepare_server()


def require_extra() -> None:
    missing = [name for name in ("xllamacpp", EMBEDDED.terms) if find_spec(name) is None]
    if missing:
        message = f"needs {' and '.join(missing)}: pip install 'smile-async[local]'"
        # In CI a test that silently does not run proves nothing.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)


@pytest.fixture(scope="module")
def served() -> Iterator[LocalEndpoint]:
    require_extra()
    with prepare_server(slots=1, context_per_slot=3072) as server:
        yield server.endpoint


def post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=240) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


@pytest.mark.e2e
def test_the_embedded_model_writes_a_dialogue_in_form(served: LocalEndpoint) -> None:
    """Five exchanges or more, the client first, speakers in turn, and an end of its own making."""
    from smile_async.dialogue.model import QAPair

    recipe = load_recipe("smile-local")
    pair = QAPair(question=QUESTION[0], description=QUESTION[1], answer=QUESTION[2])
    messages = [{"role": role, "content": content} for role, content in recipe.render(pair)]
    answer = post(
        f"{served.base_url}/chat/completions",
        {
            "model": served.model,
            "messages": messages,
            "max_tokens": recipe.sampling.max_tokens,
            "seed": 1,
            "temperature": recipe.sampling.temperature,
            "top_p": recipe.sampling.top_p,
            **recipe.sampling.extra,
        },
    )

    choice = answer["choices"][0]
    lines = choice["message"]["content"].strip().split("\n")
    assert choice["finish_reason"] == "stop"
    assert [line[:4] for line in lines] == ["求助者：", "支持者："] * (len(lines) // 2)
    assert len(lines) >= 2 * recipe.format.min_turns
    assert answer["model"] == EMBEDDED.name


@pytest.mark.e2e
def test_a_prefix_that_requests_share_is_computed_once(served: LocalEndpoint) -> None:
    examples = "示例：今天天气很好，我们一起去公园散步。" * 20
    ask: Callable[[str], dict[str, Any]] = lambda question: post(  # noqa: E731
        f"{served.base_url}/chat/completions",
        {"messages": [{"role": "system", "content": examples}, {"role": "user", "content": question}], "max_tokens": 4},
    )
    ask("第一个问题。")

    timings = ask("另一个问题。")["timings"]

    assert timings["cache_n"] > 10 * timings["prompt_n"]


@pytest.mark.e2e
def test_no_web_page_may_read_answers(served: LocalEndpoint) -> None:
    request = urllib.request.Request(f"{served.base_url}/models", headers={"Origin": "https://example.org"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.headers.get("Access-Control-Allow-Origin") not in {"*", "https://example.org"}


@pytest.mark.e2e
def test_a_broken_model_file_is_an_error_with_llamas_own_words(tmp_path: Path) -> None:
    require_extra()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 4096)

    with pytest.raises(LocalServerError, match="gguf"):
        LocalServer(broken).start()


@pytest.mark.e2e
def test_a_coroutine_can_serve_and_no_child_is_left() -> None:
    require_extra()

    async def scenario() -> LocalEndpoint:
        async with local_endpoint(slots=2, context_per_slot=512) as endpoint:
            await asyncio.to_thread(urllib.request.urlopen, f"{endpoint.base_url}/models", None, 10)
            return endpoint

    endpoint = asyncio.run(scenario())

    assert endpoint.concurrency == 2
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{endpoint.base_url}/models", timeout=10)


@pytest.mark.e2e
def test_the_child_dies_with_a_parent_that_was_killed() -> None:
    require_extra()
    code = (
        "from smile_async.provider.local import prepare_server\n"
        "server = prepare_server(slots=1, context_per_slot=512)\n"
        "server.start()\n"
        "print(server._child.pid, flush=True)\n"
        "import signal; signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # Becomes readable when the child ends: no polling.
        watched = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)

    import select

    ended, _, _ = select.select([watched], [], [], 10)
    os.close(watched)
    assert ended
