"""The model that is fine-tuned: any causal model of Hugging Face's by name or folder, or a GGUF file.

A GGUF is unpacked once into a folder of the cache (a minute for the embedded model, half a gigabyte), in which
training, merging and converters find what they need: configuration, tokenizer, safetensors.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from smile_async.chatbot.sessions import Turn
from smile_async.errors import MissingExtraError, UsageError
from smile_async.provider.model_file import EMBEDDED, embedded_model_file, model_cache, named_model_file
from smile_async.provider.thinking import OPEN_THINKING

EXTRA = "train"
NEEDED = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "safetensors", "matplotlib")
EMBEDDED_NAME = "embedded"

Precision = Literal["auto", "bf16", "fp16", "fp32"]


def require_training(what: str = "Training", needed: Sequence[str] = NEEDED) -> None:
    """Raises `MissingExtraError` when a part of it is not installed. Imports nothing."""
    if any(find_spec(name) is None for name in needed):
        raise MissingExtraError(what, EXTRA)


def quiet_libraries() -> None:
    """transformers and datasets write bars and hints for notebooks to stderr, and the hub's client two lines for each
    try of a download; here others tell how far it is. What they will rename in their next version is between them. trl
    would tell its makers of each training."""
    import warnings

    for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")  # read when those libraries are imported

    import datasets
    import transformers

    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|trl|peft|accelerate)\.")

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # once transformers, which imports it, is there


def base_folder(base: str, *, cache: Path | None = None, notify: Callable[[str], None] = lambda _text: None) -> str:
    """What transformers can load: `base` itself when it is a name or a folder; for a GGUF file, or `embedded`, the
    folder into which it was unpacked, on the first call. Safe when several processes call at once.

    Raises `UsageError` for a path that is neither, `MissingExtraError`.
    """
    path = Path(base).expanduser()
    if base == EMBEDDED_NAME:
        return str(_unpacked(embedded_model_file(notify=notify), cache, notify, sha256=EMBEDDED.sha256))
    if path.is_file():
        return str(_unpacked(named_model_file(path), cache, notify))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UsageError(f"{path} holds no config.json.", hint="Name a model's folder, its name, or a GGUF file.")
        return str(path.absolute())
    if path.is_absolute() or base.startswith((".", "~")) or path.suffix == ".gguf":
        raise UsageError(f"There is no model at {base}.", hint="Name a model's folder, its name, or a GGUF file.")
    if not _is_cached(base):
        notify(f"Fetching {base} from Hugging Face, once; without a network that fails after a minute of tries.")
    return base


def _is_cached(name: str) -> bool:
    """Whether a model of Hugging Face's was fetched before. Asks no network."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # no such name can be
        return False


def _unpacked(gguf: Path, cache: Path | None, notify: Callable[[str], None], sha256: str | None = None) -> Path:
    if find_spec("gguf") is None:
        raise MissingExtraError("A GGUF file as a base", EXTRA)
    folder = model_cache() if cache is None else cache
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{gguf.stem}-{(sha256 or _digest(gguf))[:16]}-hf"
    with FileLock(folder / f"{target.name}.lock"):
        if not target.is_dir():
            notify(f"Unpacking {gguf.name} to {target}, once; the embedded model takes a minute.")
            _unpack(gguf, target)
    return target


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _unpack(gguf: Path, target: Path) -> None:
    """In bf16, beside the quantised original's own coarseness no loss; under a temporary name until it is whole."""
    quiet_libraries()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    where = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(part)
    AutoTokenizer.from_pretrained(**where).save_pretrained(part)
    part.replace(target)


def load_tokenizer(base: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model or adapter; one without a chat template gets a plain one (`data/plain_chat.jinja`).

    Raises `UsageError` when it cannot be loaded or has no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise _not_loaded("tokenizer", base, error) from error
    if tokenizer.eos_token is None:
        raise UsageError(f"The tokenizer of {base} has no end-of-sequence token.", hint="Choose a causal chat model.")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template:
        tokenizer.chat_template = plain_template()
    return tokenizer


def plain_template() -> str:
    """A chat template for base models: lines of `Client:` and `Counselor:`, an answer ends with the end token."""
    return files("smile_async.chatbot").joinpath("data/plain_chat.jinja").read_text(encoding="utf-8")


def load_model(base: str, precision: Precision = "auto", *, trust_remote_code: bool = False) -> Any:
    """The causal model in the wanted precision, on the CPU. Raises `UsageError` when it cannot be loaded."""
    import torch
    from transformers import AutoModelForCausalLM

    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
    try:
        return AutoModelForCausalLM.from_pretrained(
            base, dtype=kinds[chosen_precision(precision)], trust_remote_code=trust_remote_code, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise _not_loaded("model", base, error) from error


def _not_loaded(what: str, base: str, error: Exception) -> UsageError:
    told = str(error).strip().splitlines()
    return UsageError(
        f"The {what} {base} cannot be loaded: {told[0] if told else type(error).__name__}",
        hint="Is the name right, the network there, the folder whole? A model with its own code needs "
        "--trust-remote-code; weights must be safetensors.",
    )


def chosen_precision(wanted: Precision = "auto") -> Literal["bf16", "fp16", "fp32"]:
    """bf16 where the device computes with it, fp16 on older GPUs, else fp32."""
    if wanted != "auto":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if able.get("avx512_bf16") or able.get("amx_bf16") else "fp32"


class ChatTokens:
    """Turns to the token ids that the model sees, by the tokenizer's chat template.

    Where a template knows no system message, the system prompt goes in front of the first client utterance.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._folds = not _takes_system(tokenizer)

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """What the model goes on from: `turns` end on the client."""
        return self._ids(self._text(turns, ask=True))

    def opens_thinking(self, turns: Sequence[Turn]) -> bool:
        """Whether the template begins the answer with thoughts that are still to come."""
        return self._text(turns, ask=True).rstrip().endswith(OPEN_THINKING)

    def session(self, turns: Sequence[Turn]) -> tuple[list[int], list[int]]:
        """The ids before the counselor's last answer, as `prompt` gives them, and those of the answer with its end.

        Raises `UsageError` where the template writes something else before an answer than before a question for one.
        """
        before, whole = self._text(turns[:-1], ask=True), self._text(turns, ask=False)
        if not whole.startswith(before):
            raise UsageError(
                "The chat template of this model writes an answer in another place than it asks for one.",
                hint="Give its tokenizer a template whose generation prompt begins the assistant's message.",
            )
        answer = self._ids(whole[len(before) :].rstrip("\n"))
        end = self._tokenizer.eos_token_id
        return self._ids(before), answer if answer[-1:] == [end] else [*answer, end]

    def count(self, turns: Sequence[Turn]) -> int:
        """Tokens of a whole session: `sessions.CountTokens`."""
        return sum(map(len, self.session(turns)))

    def _text(self, turns: Sequence[Turn], *, ask: bool) -> str:
        messages = [{"role": role, "content": text} for role, text in (_folded(turns) if self._folds else turns)]
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def _takes_system(tokenizer: Any) -> bool:
    from jinja2.exceptions import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            [{"role": "system", "content": "SYSTEM-PROMPT"}, {"role": "user", "content": "?"}], tokenize=False
        )
    except TemplateError:
        return False
    return "SYSTEM-PROMPT" in text


def _folded(turns: Sequence[Turn]) -> list[Turn]:
    system = "\n\n".join(text for role, text in turns if role == "system")
    rest = [turn for turn in turns if turn[0] != "system"]
    place = next((place for place, (role, _) in enumerate(rest) if role == "user"), None)
    if system and place is not None:
        rest[place] = ("user", f"{system}\n\n{rest[place][1]}")
    return rest


def note_of(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object in a folder; empty where there is none."""
    try:
        found = json.loads((folder / name).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
