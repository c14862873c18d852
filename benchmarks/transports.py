"""What an HTTP request costs: CPU, rate and memory of each way to send the same chat request.

    python benchmarks/transports.py                   # what is installed, about six minutes
    python benchmarks/transports.py --only aiohttp pyreqwest --loops asyncio --cells 512:200 --rounds 3
    python benchmarks/transports.py --split           # where the time of httpx's own layers goes

A small HTTP server runs in a process of its own; each candidate runs in a fresh process, one after the other, so that
imports, pools and threads of one do not colour the next. CPU is user + system of the client process with all its
threads. Each request dumps a body of about 2.5 KB and parses a reply of about 3 KB, both Chinese. One round warms the
connections up and is not counted. Compare ratios of one run only: a shared machine is noisy.
"""

import argparse
import asyncio
import importlib
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import orjson

Send = Callable[[dict[str, Any]], Awaitable[bytes]]
Candidate = Callable[[str, int, AsyncExitStack], Awaitable[Send]]

PROMPT = "我最近总是睡不好，一闭上眼睛就想起工作上的事情，觉得自己什么都做不好。" * 22  # 770 characters
ANSWER = "听起来你这段时间承受了不少压力，能和我说说最近发生了什么事情让你这样想吗？" * 26  # 962 characters
REPLY = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 500, "completion_tokens": 700, "total_tokens": 1200},
    }
)
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\n"
    b"x-request-id: 1\r\nx-ratelimit-limit-requests: 100000\r\nx-ratelimit-remaining-requests: 99999\r\n"
    b"x-ratelimit-reset-requests: 1ms\r\nContent-Length: %d\r\n\r\n" % len(REPLY)
)
HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-not-a-real-key"}


# -- the server ---------------------------------------------------------------------------------------------------


class Answering(asyncio.Protocol):
    """Enough of HTTP/1.1 for a client that sends a Content-Length; the path's last part is the delay in ms."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            del self.buffer[: end + 4 + length]
            delay = int(head.split(b" ", 2)[1].rsplit(b"/", 1)[1]) / 1000
            asyncio.get_running_loop().call_later(delay, self.answer)

    def answer(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(HEAD + REPLY)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# -- the candidates -----------------------------------------------------------------------------------------------


async def aiohttp_bare(url: str, in_flight: int, stack: AsyncExitStack) -> Send:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=in_flight)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

    async def send(body: dict[str, Any]) -> bytes:
        async with session.post(url, data=orjson.dumps(body), headers=HEADERS) as response:
            return await response.read()

    return send


async def pyreqwest_bare(url: str, in_flight: int, stack: AsyncExitStack) -> Send:
    from pyreqwest.client import ClientBuilder

    client = await stack.enter_async_context(ClientBuilder().pool_max_idle_per_host(in_flight).build())

    async def send(body: dict[str, Any]) -> bytes:
        response = await client.post(url).headers(HEADERS).body_bytes(orjson.dumps(body)).build().send()
        return bytes(await response.bytes())

    return send


async def pyqwest_bare(url: str, in_flight: int, stack: AsyncExitStack) -> Send:
    pyqwest: Any = importlib.import_module("pyqwest")
    transport = pyqwest.HTTPTransport(pool_max_idle_per_host=in_flight, enable_otel=False)
    client = pyqwest.Client(await stack.enter_async_context(transport))

    async def send(body: dict[str, Any]) -> bytes:
        response = await client.post(url, HEADERS, orjson.dumps(body))
        return bytes(response.content)

    return send


async def own_connections(url: str, in_flight: int, stack: AsyncExitStack) -> Send:
    """`Transport.post`: the project's own HTTP/1.1, as the product calls it."""
    from smile_async.provider.transport import Transport

    return posting(Transport(max_connections=in_flight), url, stack)


async def kept_pyreqwest(url: str, in_flight: int, stack: AsyncExitStack) -> Send:
    """`Transport.post` by the way that is kept for proxies: with the product's timeouts and bounds, unlike the bare."""
    from smile_async.provider.transport import Transport

    class ByPyreqwest(Transport):
        def _place(self, url: str) -> None:
            return None

    return posting(ByPyreqwest(max_connections=in_flight), url, stack)


def posting(transport: Any, url: str, stack: AsyncExitStack) -> Send:
    from smile_async.engine.job import Failure

    stack.push_async_callback(transport.aclose)

    async def send(body: dict[str, Any]) -> bytes:
        answer = await transport.post(url, HEADERS, orjson.dumps(body))
        assert not isinstance(answer, Failure), answer
        return bytes(answer.body)

    return send


async def chat_provider(url: str, in_flight: int, stack: AsyncExitStack) -> Send:
    """The product's own path: `ChatProvider.ask` with everything in it, also its parsing and its headers."""
    from pydantic import SecretStr

    from smile_async.engine.job import Message, Reply, Request
    from smile_async.provider.chat import ChatProvider

    provider = ChatProvider(
        base_url=url,
        model="bench",
        api_key=SecretStr("sk-not-a-real-key"),
        max_tokens=2048,
        max_connections=in_flight,
    )
    stack.push_async_callback(provider.aclose)

    async def send(body: dict[str, Any]) -> bytes:
        messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
        reply = await provider.ask(Request(messages=messages))
        assert isinstance(reply, Reply), reply
        return b""

    return send


def httpx_transport(name: str, in_flight: int) -> Any:
    import httpx

    if name == "own pool":
        limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
        return httpx.AsyncHTTPTransport(limits=limits)
    if name == "aiohttp":
        module = importlib.import_module("httpx_aiohttp")
        return module.AiohttpTransport(limits=httpx.Limits(max_connections=in_flight))
    if name == "pyreqwest":
        from pyreqwest.client import ClientBuilder
        from pyreqwest.compatibility.httpx import HttpxTransport

        return HttpxTransport(ClientBuilder().pool_max_idle_per_host(in_flight).build())
    if name == "pyqwest":
        import pyqwest
        from pyqwest.httpx import AsyncPyqwestTransport

        return AsyncPyqwestTransport(pyqwest.HTTPTransport(pool_max_idle_per_host=in_flight, enable_otel=False))
    if name == "curl_cffi":
        module = importlib.import_module("httpx_curl_cffi")
        return module.AsyncCurlTransport()
    module = importlib.import_module("httpx_pycurl")
    return module.AsyncPyCurlTransport()


def through_client(name: str) -> Candidate:
    async def make(url: str, in_flight: int, stack: AsyncExitStack) -> Send:
        import httpx

        client = httpx.AsyncClient(transport=httpx_transport(name, in_flight), timeout=60, trust_env=False)
        await stack.enter_async_context(client)

        async def send(body: dict[str, Any]) -> bytes:
            response = await client.post(url, content=orjson.dumps(body), headers=HEADERS)
            return response.content

        return send

    return make


def handed_over(name: str) -> Candidate:
    """An `httpx.Request` straight to the transport: no client, no cookies, no redirects, no hooks."""

    async def make(url: str, in_flight: int, stack: AsyncExitStack) -> Send:
        import httpx

        transport = await stack.enter_async_context(httpx_transport(name, in_flight))
        target = httpx.URL(url)
        extensions = {"timeout": httpx.Timeout(60).as_dict()}

        async def send(body: dict[str, Any]) -> bytes:
            request = httpx.Request("POST", target, content=orjson.dumps(body), headers=HEADERS, extensions=extensions)
            response = await transport.handle_async_request(request)
            try:
                return bytes(await response.aread())
            finally:
                await response.aclose()

        return send

    return make


UNDER_HTTPX = ("own pool", "aiohttp", "pyreqwest", "pyqwest", "pycurl", "curl_cffi")
CANDIDATES: dict[str, Candidate] = {
    "aiohttp": aiohttp_bare,
    "pyreqwest": pyreqwest_bare,
    "pyqwest": pyqwest_bare,
    "own connections": own_connections,
    "Transport.post by pyreqwest": kept_pyreqwest,
    "ChatProvider.ask": chat_provider,
    **{f"httpx over {name}": through_client(name) for name in UNDER_HTTPX},
    **{f"httpx.Request to {name}": handed_over(name) for name in UNDER_HTTPX},
}
SLOW = ("own pool", "pycurl", "curl_cffi")
"""Up to 50 ms a request: fewer requests, and no run at 2,000 in flight, which would take minutes."""


# -- one measurement ----------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def ask(send: Send, numbers: range) -> None:
    for number in numbers:
        body = {"model": "bench", "messages": [{"role": "user", "content": f"{number} {PROMPT}"}]}
        answer = await send(body)
        if answer:
            assert len(orjson.loads(answer)["choices"][0]["message"]["content"]) == len(ANSWER)


async def measure(name: str, url: str, in_flight: int, requests: int) -> dict[str, float]:
    each = max(1, requests // in_flight)
    async with AsyncExitStack() as stack:
        send = await CANDIDATES[name](url, in_flight, stack)
        await asyncio.gather(*(ask(send, range(1)) for _ in range(in_flight)))
        cpu, start = cpu_seconds(), time.perf_counter()
        await asyncio.gather(*(ask(send, range(each)) for _ in range(in_flight)))
        seconds, spent = time.perf_counter() - start, cpu_seconds() - cpu
    total = each * in_flight
    return {
        "cpu_ms": 1000 * spent / total,
        "per_second": total / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run_loop(coroutine: Coroutine[Any, Any, Any], loop: str) -> Any:
    factory = importlib.import_module("uvloop").new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


def raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# -- where the time of httpx's layers goes ------------------------------------------------------------------------


def timed(label: str, action: Callable[[], Any], times: int = 20_000) -> None:
    start = time.process_time()
    for _ in range(times):
        action()
    print(f"  {label:<58}{(time.process_time() - start) / times * 1e6:8.1f} us")


def split() -> None:
    import httpx

    target = httpx.URL("http://127.0.0.1:9/v1/chat/completions")
    body = orjson.dumps({"model": "bench", "messages": [{"role": "user", "content": PROMPT}]})
    raw = [(b"content-type", b"application/json"), (b"content-length", b"3000"), (b"x-request-id", b"1")] * 3

    class Chunks(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield REPLY

    def response() -> httpx.Response:
        return httpx.Response(200, headers=raw, stream=Chunks())

    def read() -> None:
        coroutine = response().aread()
        try:
            coroutine.send(None)
        except StopIteration:
            return

    print("httpx's own layers, process time a call:")
    timed("orjson.dumps of the request", lambda: orjson.dumps({"messages": [{"role": "user", "content": PROMPT}]}))
    timed("httpx.Headers(dict of 2)", lambda: httpx.Headers(HEADERS))
    timed(
        "httpx.Request(POST, URL object, 2 headers, bytes)",
        lambda: httpx.Request("POST", target, headers=HEADERS, content=body),
    )
    timed(
        "httpx.Request(POST, URL string, 2 headers, bytes)",
        lambda: httpx.Request("POST", str(target), headers=HEADERS, content=body),
    )
    timed("httpx.Response(200, 9 raw headers, stream)", response)
    timed("the same and aread()", read)
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    timed(
        "AsyncClient.build_request(POST, URL object)",
        lambda: client.build_request("POST", target, headers=HEADERS, content=body),
    )
    timed("orjson.loads of the reply", lambda: orjson.loads(REPLY))


# -- the table ----------------------------------------------------------------------------------------------------


def child(*arguments: str) -> dict[str, float] | str:
    """One fresh process; its figures, or the last line of what went wrong."""
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["?"])[-1][:70]
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def requests_for(name: str, in_flight: int, delay_ms: int) -> int:
    wanted = max(3 * in_flight, 1_500 if delay_ms and in_flight < 100 else 6_000)
    return max(2 * in_flight, wanted // 10) if name.endswith(SLOW) else wanted


def cell(figures: list[dict[str, float] | str]) -> str:
    """One run in full; of several the lowest, middle and highest CPU."""
    good = [found for found in figures if not isinstance(found, str)]
    if not good:
        return str(figures[0]) if figures else "not run"
    if len(good) == 1:
        return f"{good[0]['cpu_ms']:.3f} ({good[0]['per_second']:,.0f}/s, {good[0]['peak_mb']:.0f} MB)"
    cpu = [found["cpu_ms"] for found in good]
    best, peak = max(found["per_second"] for found in good), max(found["peak_mb"] for found in good)
    return f"{min(cpu):.3f} {statistics.median(cpu):.3f} {max(cpu):.3f} ({best:,.0f}/s, {peak:.0f} MB)"


def table(names: list[str], loops: list[str], cells: list[tuple[int, int]], rounds: int, port: int) -> None:
    """For each loop and cell the candidates run in turn, round after round: a busy minute then hits them all."""
    found: dict[tuple[str, str, int], list[dict[str, float] | str]] = defaultdict(list)
    for loop in loops:
        for at, (in_flight, delay) in enumerate(cells):
            for name in names * rounds:
                if not (name.endswith(SLOW) and in_flight > 512):
                    ask_for = f"{in_flight}:{delay}"
                    run = child("--run", name, "--port", str(port), "--loops", loop, "--cells", ask_for)
                    found[name, loop, at].append(run)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    what = "CPU ms a request" if rounds == 1 else f"lowest, middle, highest CPU ms a request of {rounds} runs"
    print(f"{what} (requests a second, peak memory)\n")
    print("| client | loop | " + " | ".join(f"{n:,} in flight, {d} ms" for n, d in cells) + " |")
    print("|---" * (len(cells) + 2) + "|")
    for name in names:
        for loop in loops:
            row = [cell(found[name, loop, at]) for at in range(len(cells))]
            print(f"| {name} | {loop} | " + " | ".join(row) + " |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="candidates, by the names in the table")
    parser.add_argument("--loops", nargs="+", default=["asyncio", "uvloop"])
    parser.add_argument(
        "--cells",
        nargs="+",
        default=["64:0", "512:0", "2000:0", "64:200", "512:200", "2000:200"],
        metavar="IN_FLIGHT:DELAY_MS",
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--split", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    raise_open_files()
    cells = [(int(n), int(d)) for n, d in (text.split(":") for text in chosen.cells)]
    if chosen.serve:
        run_loop(serve(), "uvloop" if importlib.util.find_spec("uvloop") else "asyncio")
    elif chosen.split:
        split()
    elif chosen.run:
        in_flight, delay = cells[0]
        url = f"http://127.0.0.1:{chosen.port}/v1/chat/completions?/{delay}"
        count = requests_for(chosen.run, in_flight, delay)
        print(json.dumps(run_loop(measure(chosen.run, url, in_flight, count), chosen.loops[0])))
    else:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            try:
                table(
                    chosen.only or list(CANDIDATES), chosen.loops, cells, chosen.rounds, int(server.stdout.readline())
                )
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
