"""The child process in which llama.cpp runs: serve one GGUF file until the parent closes its end of stdin.

    python -m smile_async.provider.llama '{"model": "/path/model.gguf", "slots": 4, ...}'

It writes one line of JSON on stdout (`{"url": ...}` or `{"error": ...}`) once it listens, and llama.cpp's own log on
stderr. A pipe on stdin ties it to its parent: the kernel closes the pipe however the parent dies, SIGKILL included.
"""

import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

PLAIN_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}\n\n{% endfor %}"
"""Messages one after the other as plain text: what a base model can continue. Any role is welcome, in any order."""

LOG_WARNINGS = 2  # llama.cpp's verbosity: 1 errors, 2 warnings, 3 one line and more a request


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What the child is told. `port` 0 lets the kernel choose a free one; `template` None keeps the model's own;
    `adapter` is a LoRA adapter as GGUF."""

    model: str
    alias: str
    host: str
    port: int
    slots: int
    context_per_slot: int  # tokens
    threads: int
    template: str | None
    adapter: str | None = None


def main(argument: str) -> None:
    # A Ctrl-C in the terminal is the parent's to handle: it drains what is in flight here, then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = ServeSettings(**json.loads(argument))
    try:
        server = listen(settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it to the user
        _say({"error": f"{type(error).__name__}: {error}"})
        return
    _say({"url": server.listening_address})
    sys.stdin.buffer.read()
    # Skips the destructors of llama.cpp: they would first finish the answers that nobody waits for any more.
    os._exit(0)


def listen(settings: ServeSettings) -> Any:
    """Load the model and listen; returns when both are done. The server stops when the value is dropped."""
    from xllamacpp import CommonAdapterLoraInfo, CommonParams, Server

    params = CommonParams()
    params.model.path = settings.model
    params.model_alias = {settings.alias}
    params.hostnames = [settings.host]
    params.port = settings.port
    params.n_parallel = settings.slots
    params.n_ctx = settings.context_per_slot * settings.slots
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    # Threads that wait asleep instead of spinning: as fast on a quiet machine, and where something else takes a core,
    # 20 to 31 tokens a second instead of 7 to 20.
    params.cpuparams.poll = params.cpuparams_batch.poll = 0
    # Gemma's sliding window forgets the beginning of a prompt; the whole cache kept, a prefix that many requests
    # share (the examples of a few-shot recipe) is computed once for each slot.
    params.swa_full = True
    params.cache_ram_mib = 0  # answers are not asked for twice; the default would keep 8 GB of old prompts
    params.cors_origins = settings.host  # no web page may ask
    params.verbosity = LOG_WARNINGS
    if settings.template is not None:
        params.chat_template = settings.template
    if settings.adapter is not None:
        params.lora_adapters = [CommonAdapterLoraInfo(settings.adapter, 1.0)]
    return Server(params)


def _say(message: dict[str, str]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
