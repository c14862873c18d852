"""Who answers in a conversation: an endpoint, a model of llama.cpp's on this machine, or a Hugging Face model with an
adapter in this process. Each gives an answer in pieces."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from smile_async.chatbot.base_model import plain_template
from smile_async.chatbot.conversation import messages_of
from smile_async.chatbot.drawn_tokens import DrawnTokens
from smile_async.chatbot.own_turn import LABELS, OwnTurn, has_ended, own_turn
from smile_async.chatbot.sessions import Turn
from smile_async.engine.job import Reply, Request, Usage
from smile_async.errors import UsageError
from smile_async.provider.thinking import OPEN_THINKING, without_thinking
from smile_async.settings import Endpoint, Sampling, Timeouts

MAX_TOKENS = 512  # of an answer; the corpus's counselor utterances have some hundred
CONTEXT = 8192  # tokens of a conversation, with a local model
LABEL_TOKENS = 24  # of the last words of an answer: no tokenizer makes more of a label
LOCAL_TIMEOUTS = Timeouts(read=3_600.0, total=3_600.0)


class Speaker(Protocol):
    """`pieces` gives the answer to `turns`, which end on the client; closing it stops the answer."""

    @property
    def name(self) -> str: ...

    def pieces(self, turns: Sequence[Turn]) -> AsyncGenerator[str, None]: ...


@dataclass(frozen=True, slots=True)
class EndpointSpeaker:
    name: str
    answers: Any  # provider.streaming.StreamedAnswers
    max_tokens: int | None

    async def pieces(self, turns: Sequence[Turn]) -> AsyncGenerator[str, None]:
        stream = self.answers.pieces(Request(messages_of(turns), max_tokens=self.max_tokens))
        async with aclosing(stream):
            async for piece in stream:
                yield piece


@asynccontextmanager
async def endpoint_speaker(
    endpoint: Endpoint, sampling: Sampling, *, timeouts: Timeouts | None = None, client: Any = None
) -> AsyncIterator[Speaker]:
    """A server's model. Raises `SettingsError` as `provider.dialects.dialect_for` does."""
    from smile_async.provider.dialects import dialect_for
    from smile_async.provider.streaming import StreamedAnswers

    dialect = dialect_for(endpoint, sampling.model_copy(update={"max_tokens": None}))
    answers = StreamedAnswers(dialect, timeouts=timeouts, client=client)
    try:
        yield EndpointSpeaker(endpoint.model, answers, sampling.max_tokens)
    finally:
        await answers.aclose()


@asynccontextmanager
async def local_speaker(
    model: Path | None,
    adapter: Path | None,
    sampling: Sampling,
    *,
    notify: Callable[[str], None] = lambda _text: None,
) -> AsyncIterator[Speaker]:
    """A GGUF file (None: the embedded model) under llama.cpp, with a GGUF adapter if one is named. One that is asked by
    the plain template is stopped where it begins to speak for the client."""
    from smile_async.provider.local import prepare_server

    gguf = adapter_gguf(adapter) if adapter else None
    template = template_of(gguf, embedded=model is None)
    server = await asyncio.to_thread(
        prepare_server,
        model,
        slots=1,
        context_per_slot=CONTEXT,
        adapter=gguf,
        template=template,
        notify=notify,
    )
    try:
        await asyncio.to_thread(server.start)
        at = Endpoint(base_url=server.endpoint.base_url, model=server.endpoint.model, api_key_env="")
        ends = sampling.over(Sampling(extra={"stop": [*LABELS]})) if template == plain_template() else sampling
        async with endpoint_speaker(at, ends, timeouts=LOCAL_TIMEOUTS) as speaker:
            yield speaker
    finally:
        server.stop()


def adapter_gguf(path: Path) -> Path:
    """The GGUF file of an adapter: `path` itself, or the one in that folder. Raises `UsageError`."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.gguf"))
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"{path} is no GGUF file." if not found else f"{path} holds {len(found)} GGUF files.",
        hint="llama.cpp takes adapters as GGUF: smile merge ADAPTER adapter.gguf --gguf adapter",
    )


def template_of(adapter: Path | None, *, embedded: bool) -> str | None:
    """The chat template that lies beside an adapter, as `smile merge` writes it; None: the model's own."""
    if adapter is not None and adapter.with_suffix(".jinja").is_file():
        return adapter.with_suffix(".jinja").read_text("utf-8")
    return plain_template() if embedded else None


class HuggingFaceSpeaker:
    """A model in this process; it writes in a thread of its own. `adapter` is a peft folder, `base` overrides its."""

    def __init__(
        self, base: str | None, adapter: Path | None, sampling: Sampling, *, seed: int | None = None, **loading: Any
    ) -> None:
        import torch

        from smile_async.chatbot.base_model import ChatTokens, load_model, load_tokenizer
        from smile_async.chatbot.merging import base_of, load_adapted

        if adapter is not None:
            self._model = load_adapted(adapter, base, **loading)
            self.name, source = base or base_of(adapter), str(adapter)
        else:
            assert base is not None
            self._model, self.name, source = load_model(base, **loading), base, base
        if torch.accelerator.is_available():
            self._model.to(torch.accelerator.current_accelerator())
        self._model.eval()
        self._tokenizer = load_tokenizer(source, trust_remote_code=loading.get("trust_remote_code", False))
        self._tokens = ChatTokens(self._tokenizer)
        self._plain = self._tokenizer.chat_template == plain_template()  # so it may go on for the client
        self._sampling = sampling
        if seed is not None:
            torch.manual_seed(seed)

    async def pieces(self, turns: Sequence[Turn]) -> AsyncGenerator[str, None]:
        told = threading.Event()
        streamer, thread = self._begin(turns, told)
        try:
            if self._tokens.opens_thinking(turns):
                yield OPEN_THINKING  # the template wrote it, and nobody would know
            own = OwnTurn()
            while not own.over and (piece := await asyncio.to_thread(next, streamer, None)) is not None:
                if told_piece := own.feed(piece) if self._plain else piece:
                    yield told_piece
            if rest := own.end():
                yield rest
        finally:
            told.set()
            thread.join()

    def _begin(self, turns: Sequence[Turn], told: threading.Event) -> tuple[Iterator[str], threading.Thread]:
        import torch
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        ids = torch.tensor([self._tokens.prompt(turns)], device=self._model.device)
        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        failed: list[Exception] = []

        def write() -> None:
            try:
                self._model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    streamer=streamer,
                    stopping_criteria=StoppingCriteriaList([lambda *_, **__: told.is_set()]),
                    **self._arguments(),
                )
            except Exception as error:  # noqa: BLE001 - told to the reader below
                failed.append(error)
                streamer.end()

        def read() -> Iterator[str]:
            yield from streamer
            if failed:
                raise UsageError(
                    f"The model cannot go on: {failed[0]}", hint="Begin anew with /new, or a shorter text."
                )

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        return read(), thread

    def answers(self, asked: Sequence[Sequence[Turn]], *, seeds: Sequence[int], told: threading.Event) -> list[Reply]:
        """Whole answers to several conversations at once, each sampled by its own seed. Blocks, and ends early when
        `told` is set."""
        import torch
        from transformers import StoppingCriteriaList

        prompts = [self._tokens.prompt(turns) for turns in asked]
        longest = max(map(len, prompts))
        rows = [[self._tokenizer.pad_token_id] * (longest - len(one)) + one for one in prompts]
        seen = [[0] * (longest - len(one)) + [1] * len(one) for one in prompts]
        arguments = self._arguments()
        temperature, top_p = arguments.pop("temperature", None), arguments.pop("top_p", None)
        drawn = [DrawnTokens(temperature, top_p or 1.0, seeds)] if temperature else []
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=torch.tensor(rows, device=self._model.device),
                attention_mask=torch.tensor(seen, device=self._model.device),
                stopping_criteria=StoppingCriteriaList([lambda *_, **__: told.is_set(), *self._turn_ends(longest)]),
                logits_processor=drawn,
                **(arguments | {"do_sample": False}),
            )[:, longest:].tolist()
        ends = set(arguments["eos_token_id"])
        return [
            self._reply(len(one), tokens, ends, OPEN_THINKING if self._tokens.opens_thinking(turns) else "")
            for one, tokens, turns in zip(prompts, written, asked, strict=True)
        ]

    def _reply(self, prompt: int, tokens: list[int], ends: set[int], begun: str) -> Reply:
        """What follows an end token pads the batch. `begun` is what the template wrote of the answer."""
        end = next((place for place, token in enumerate(tokens) if token in ends), None)
        text = self._tokenizer.decode(tokens[:end], skip_special_tokens=True)
        usage = Usage(prompt, len(tokens) if end is None else end + 1)
        went_on = self._plain and has_ended(text)
        text = without_thinking(begun + (own_turn(text) if went_on else text))
        cut_off = end is None and not went_on
        return Reply(text, finish_reason="length" if cut_off else "stop", usage=usage, model=self.name)

    def _turn_ends(self, prompt: int) -> list[Any]:
        """Ends a row of a batch whose model speaks for the client; only what it wrote itself is looked at."""

        def ends(ids: Any, *_: Any, **__: Any) -> Any:
            last = ids[:, prompt:][:, -LABEL_TOKENS:]
            texts = self._tokenizer.batch_decode(last, skip_special_tokens=True)
            return ids.new_tensor([has_ended(text) for text in texts]).bool()

        return [ends] if self._plain else []

    def _arguments(self) -> dict[str, Any]:
        sampled = bool(self._sampling.temperature)
        chance = {"temperature": self._sampling.temperature, "top_p": self._sampling.top_p} if sampled else {}
        ends = self._model.generation_config.eos_token_id
        ends = {self._tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
        return {
            "max_new_tokens": self._sampling.max_tokens or MAX_TOKENS,
            "do_sample": sampled,
            "eos_token_id": sorted(ends),
            "pad_token_id": self._tokenizer.pad_token_id,
            **chance,
        }


@asynccontextmanager
async def hugging_face_speaker(
    base: str | None,
    adapter: Path | None,
    sampling: Sampling,
    *,
    seed: int | None = None,
    trust_remote_code: bool = False,
    notify: Callable[[str], None] = lambda _text: None,
) -> AsyncIterator[Speaker]:
    """A Hugging Face model by name, folder or GGUF file, with an adapter if one is named; loading takes seconds."""
    from smile_async.chatbot.base_model import base_folder, quiet_libraries, require_training
    from smile_async.chatbot.merging import adapter_folder

    if adapter is not None:
        adapter = adapter_folder(adapter)
    require_training("A Hugging Face model", ("torch", "transformers", "peft"))
    quiet_libraries()
    found = await asyncio.to_thread(base_folder, base, notify=notify) if base else None
    yield await asyncio.to_thread(
        lambda: HuggingFaceSpeaker(found, adapter, sampling, seed=seed, trust_remote_code=trust_remote_code)
    )
