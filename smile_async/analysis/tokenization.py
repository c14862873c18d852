"""Texts as numbers, one a token: what a corpus' n-grams are counted over.

A tokenizer is any object with a `name` and `encode`; `load_tokenizer` knows characters, words, and the files of
Hugging Face, SentencePiece and tiktoken. None adds tokens of its own (begin, end, padding) and none truncates.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from smile_async.analysis.arrays import NDArray, np
from smile_async.errors import MissingExtraError, UsageError

HELP = (
    "characters, jieba (words), a tokenizer.json, a SentencePiece .model, a folder with one of them, the name of a "
    "Hugging Face repository, or tiktoken:NAME"
)
_FILES_IN_FOLDERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of several texts, one after the other: `ids` has `lengths.sum()` numbers, `lengths` one a text."""

    ids: NDArray[np.uint32]
    lengths: NDArray[np.int64]


class Tokenizer(Protocol):
    @property
    def name(self) -> str:
        """For reports: two tables are comparable when it is the same."""
        ...

    def encode(self, texts: Sequence[str]) -> Tokens:
        """The same token has the same number in every call. Numbers are below 2**21."""
        ...


def tokens_of(encoded: Sequence[Sequence[int]]) -> Tokens:
    """From lists of numbers, as most tokenizers give them."""
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return Tokens(np.fromiter(chain.from_iterable(encoded), np.uint32, int(lengths.sum())), lengths)


def numbered(texts: Iterable[Sequence[str]], numbers: dict[str, int]) -> Tokens:
    """From texts cut by anybody; a new token gets the next number in `numbers`."""
    return tokens_of([[numbers.setdefault(token, len(numbers)) for token in text] for text in texts])


class Characters:
    """Each Unicode code point that is not white space is a token: punctuation, Latin letters and digits, too, and line
    breaks not, which are layout. No normalisation: full- and half-width forms differ."""

    name = "characters"

    def encode(self, texts: Sequence[str]) -> Tokens:
        points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
        kept = _is_no_space()[points]
        before = np.concatenate(([0], np.cumsum(kept)))  # kept characters before each place
        ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
        return Tokens(points[kept].astype(np.uint32), np.diff(before[ends], prepend=0).astype(np.int64))


@cache
def _is_no_space() -> NDArray[np.bool_]:
    table = np.ones(0x110000, np.bool_)
    table[[point for point in range(0x3001) if chr(point).isspace()]] = False  # U+3000 is the last one
    return table


class Words:
    """Chinese words as jieba cuts them (its dictionary, and its model for words that are not in it); what is only white
    space is left out, and punctuation marks are words.

    By rjieba (jieba in Rust): jieba itself has had no release since 2020 and is slower.
    """

    name = "jieba"

    def __init__(self) -> None:
        self._cut: Callable[[str], list[str]] = _part("rjieba", "jieba's words").cut
        self._numbers: dict[str, int] = {}

    def encode(self, texts: Sequence[str]) -> Tokens:
        cut = ([word for word in self._cut(text) if not word.isspace()] for text in texts)
        return numbered(cut, self._numbers)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A tokenizer of somebody else's: `pieces` gives each text's numbers."""

    name: str
    pieces: Callable[[Sequence[str]], Sequence[Sequence[int]]]

    def encode(self, texts: Sequence[str]) -> Tokens:
        return tokens_of(self.pieces(list(texts)))


def load_tokenizer(wanted: str) -> Tokenizer:
    """By name or place: see `HELP`. A name such as `THUDM/chatglm2-6b` (the paper's) is looked for in the Hugging Face
    cache, then downloaded: its `tokenizer.json` or its SentencePiece model, never code.

    `UsageError` when there is none, `MissingExtraError` when its package is not installed.
    """
    if wanted == "characters":
        return Characters()
    if wanted == "jieba":
        return Words()
    if wanted.startswith("tiktoken:"):
        return _tiktoken(wanted.removeprefix("tiktoken:"))
    path = Path(wanted)
    if path.is_dir():
        return _from_file(_in_folder(path), wanted)
    if path.is_file():
        return _from_file(path, wanted)
    if wanted.count("/") == 1 and not wanted.startswith((".", "/", "~")):
        return _from_file(_from_hub(wanted), wanted)
    raise UsageError(f"There is no tokenizer {wanted!r}.", hint=f"One of: {HELP}.")


def _in_folder(folder: Path) -> Path:
    found = next((folder / name for name in _FILES_IN_FOLDERS if (folder / name).is_file()), None)
    if found is None:
        raise UsageError(f"{folder} holds no tokenizer.", hint=f"Looked for: {', '.join(_FILES_IN_FOLDERS)}.")
    return found


def _from_file(path: Path, name: str) -> Tokenizer:
    if path.suffix == ".json":
        return Loaded(name, _hugging_face(path))
    if path.suffix == ".model":
        return Loaded(name, _sentencepiece(path))
    raise UsageError(f"{path} is neither a tokenizer.json nor a SentencePiece .model.", hint=f"A tokenizer is: {HELP}.")


def _hugging_face(path: Path) -> Callable[[Sequence[str]], Sequence[Sequence[int]]]:
    library = _part("tokenizers", "A tokenizer.json")
    try:
        tokenizer = library.Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - tokenizers raises nothing more special
        raise UsageError(f"{path} is no tokenizer of Hugging Face's: {error}", hint="Download it again.") from None
    tokenizer.no_truncation()  # what its file says is for a model's window
    tokenizer.no_padding()

    def pieces(texts: Sequence[str]) -> list[list[int]]:
        return [one.ids for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    return pieces


def _sentencepiece(path: Path) -> Callable[[Sequence[str]], Sequence[Sequence[int]]]:
    library = _part("sentencepiece", "A SentencePiece model")
    processor = library.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(path.read_bytes())
    except (RuntimeError, OSError):
        raise UsageError(f"{path} is no SentencePiece model.", hint="Download it again.") from None

    def pieces(texts: Sequence[str]) -> Sequence[Sequence[int]]:
        found: list[list[int]] = processor.encode(list(texts), out_type=int)
        return found

    return pieces


def _tiktoken(name: str) -> Tokenizer:
    library = _part("tiktoken", "tiktoken")
    try:
        encoding = library.get_encoding(name) if name in library.list_encoding_names() else _of_model(library, name)
    except OSError as error:  # requests' errors are OSErrors, too
        raise UsageError(
            f"tiktoken's files for {name!r} are not here and could not be downloaded ({type(error).__name__}).",
            hint="Put them into a folder where there is network, and name it in TIKTOKEN_CACHE_DIR.",
        ) from None

    def pieces(texts: Sequence[str]) -> Sequence[Sequence[int]]:
        found: list[list[int]] = encoding.encode_ordinary_batch(list(texts))
        return found

    return Loaded(f"tiktoken:{name}", pieces)


def _of_model(library: Any, name: str) -> Any:
    try:
        return library.encoding_for_model(name)
    except KeyError:
        known = ", ".join(library.list_encoding_names())
        raise UsageError(f"tiktoken knows no {name!r}.", hint=f"A model's name, or one of: {known}.") from None


def _from_hub(repository: str) -> Path:
    hub = _part("huggingface_hub", "A tokenizer by its Hugging Face name")
    errors = import_module("huggingface_hub.errors")
    try:
        for file in _FILES_IN_FOLDERS:
            cached = hub.try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return Path(cached)
        for file in _FILES_IN_FOLDERS:
            try:
                return Path(hub.hf_hub_download(repository, file))
            except errors.LocalEntryNotFoundError:
                raise  # the hub did not answer: that says nothing of what it has
            except errors.EntryNotFoundError:
                continue
    except (OSError, ValueError) as error:  # its HTTP errors are OSErrors, a bad name is a ValueError
        raise UsageError(
            f"{repository!r} is no file or folder here, and Hugging Face gave no tokenizer of that name "
            f"({type(error).__name__}).",
            hint="Download tokenizer.json or tokenizer.model by hand, and name the file.",
        ) from None
    raise UsageError(f"{repository} holds no tokenizer.", hint=f"Looked for: {', '.join(_FILES_IN_FOLDERS)}.")


def _part(module: str, what: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(what, "analysis") from None


def blocks(texts: Iterable[str], characters: int) -> Iterable[list[str]]:
    """Texts in lists of about so many characters: bounds memory, and lets a tokenizer use all cores."""
    block: list[str] = []
    held = 0
    for text in texts:
        block.append(text)
        held += len(text)
        if held >= characters:
            yield block
            block, held = [], 0
    if block:
        yield block
