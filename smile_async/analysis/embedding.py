"""The texts of a corpus as vectors (section 4): QAs and dialogues, asked for through the one engine.

A row of the run is a request of several texts. Its reply holds the vectors, and the ledger keeps each reply anyway: so
the row's value is only their shape, and a vector stands in the ledger once, as float32 in base64 (1,536 numbers: 8 kB).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import orjson

from smile_async.analysis.digests import dialogue_text, qa_text, text_digest
from smile_async.analysis.vectors import IDS, VECTORS, Listed, Text, dump_texts, id_lines, load_texts, vector_chunks
from smile_async.answering import Embeddings
from smile_async.corpus.formats import Record
from smile_async.dialogue.model import QAPair
from smile_async.engine import schema
from smile_async.engine.feed import Unreadable
from smile_async.engine.job import FailureKind, Reply
from smile_async.engine.kept import asked_items, count_asked
from smile_async.engine.run import RunReport
from smile_async.engine.task import Accepted, Rejected, Task
from smile_async.kinship import check_kin
from smile_async.notes import Whom, endpoints_of
from smile_async.options import Options
from smile_async.provider.embeddings import FLOAT, embedding_request, unpack
from smile_async.tasks import Following, Keeping, run_task, set_aside

What = Literal["qa", "dialogue"]
BOTH: tuple[What, ...] = ("qa", "dialogue")

MAX_CHARACTERS = 6_000  # of a text: text-embedding-ada-002 takes 8,191 tokens, and a Chinese character has up to 1.3
TEXTS = 64  # a request, of a server
TEXTS_LOCAL = 8  # a request, of the embedded model: some seconds of work
CHARACTERS = 100_000  # a request: servers bound the sum of its tokens (OpenAI: 300,000)
MISSING = "missing-vectors"
BY_THE_TEXT = frozenset({MISSING, str(FailureKind.BAD_REQUEST), str(FailureKind.CONTENT_FILTER)})
"""Reasons for which a request of several texts was set aside that may be the fault of one of them."""

Batch = tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Batching:
    """How many texts a request holds at most, and how many characters they have together at most (a longer text goes
    alone)."""

    texts: int = TEXTS
    characters: int = CHARACTERS


def corpus_texts(
    records: Iterable[Record],
    what: Sequence[What] = BOTH,
    *,
    max_characters: int = MAX_CHARACTERS,
    without_qa: Callable[[], None] = lambda: None,
) -> Iterator[Text | Unreadable]:
    """The texts of a corpus, a record's QA before its dialogue. `without_qa` is called for each record that was made
    from no QA, or whose QA the corpus does not hold."""
    for number, record in enumerate(records):
        if "qa" in what and record.pair is not None:
            yield _text(2 * number, record.row_id, "qa", qa_text(record.pair), max_characters)
        elif "qa" in what:
            without_qa()
        if "dialogue" in what:
            yield _text(2 * number + 1, record.row_id, "dialogue", dialogue_text(record.dialogue), max_characters)


def pair_texts(
    pairs: Iterable[QAPair | Unreadable], *, max_characters: int = MAX_CHARACTERS
) -> Iterator[Text | Unreadable]:
    """The texts of QAs that became no dialogue (PsyQA*); a QA's id is its source's, with the number of the answer."""
    for number, pair in enumerate(pairs):
        if isinstance(pair, Unreadable):
            yield pair
            continue
        ident = f"{pair.source_id or number}" + (f"/{pair.answer_index}" if pair.answer_index else "")
        yield _text(2 * number, ident, "qa", qa_text(pair), max_characters)


def _text(place: int, ident: str, what: str, text: str, most: int) -> Text | Unreadable:
    if not text.strip():
        return Unreadable(f"{what} of {ident}: there is no text", key=f"{what}:{ident}".encode())
    return Text(place, ident, what, text[:most], len(text) > most, text_digest(text))


def batches(texts: Iterable[Text | Unreadable], batching: Batching) -> Iterator[Batch | Unreadable]:
    """Texts in their order, as many together as a request may hold."""
    batch: list[Text] = []
    characters = 0
    for text in texts:
        if isinstance(text, Unreadable):
            yield text
            continue
        if batch and (len(batch) == batching.texts or characters + len(text.text) > batching.characters):
            yield tuple(batch)
            batch, characters = [], 0
        batch.append(text)
        characters += len(text.text)
    if batch:
        yield tuple(batch)


def embedding_task(batching: Batching, **identity: Any) -> Task[Batch, tuple[int, int]]:
    """Asks for the vectors of a batch; the value is (how many, of how many numbers each). `identity`: what else of the
    texts' making has to be the same when a run goes on."""

    def accept(batch: Batch, reply: Reply) -> Accepted[tuple[int, int]] | Rejected:
        count, values = unpack(reply.text)
        if count != len(batch):
            return Rejected(MISSING, f"{count} vectors for {len(batch)} texts")
        return Accepted((count, len(values) // FLOAT // count))

    return Task(
        name="embeddings",
        render=lambda batch: embedding_request([text.text for text in batch]),
        accept=accept,
        dump_item=dump_texts,
        load_item=load_texts,
        dump_value=orjson.dumps,
        load_value=lambda data: tuple(orjson.loads(data)),
        identity={"batch": [batching.texts, batching.characters], **identity},
        source_id=lambda batch: batch[0].id,
    )


async def embed_corpus(
    records: Iterable[Record],
    out: str | Path,
    *,
    provider: Whom,
    what: Sequence[What] = BOTH,
    max_characters: int = MAX_CHARACTERS,
    batching: Batching | None = None,
    embeddings: Embeddings | None = None,
    options: Options | None = None,
    keeping: Keeping | None = None,
    following: Following | None = None,
) -> RunReport:
    """The vectors of a corpus's QAs and dialogues in the run folder `out`; the same call again goes on.

    `vectors.npy` then holds them (n rows of d float32 numbers), line n of `ids.jsonl` says whose row n is; see
    `vectors.load_vectors`. Texts above `max_characters` are cut and marked so. Raises as `run_task`.
    """
    seen = following or Following()
    lacking: set[int] = set()

    def texts() -> Iterable[Text | Unreadable]:
        lacking.clear()
        return corpus_texts(records, what, max_characters=max_characters, without_qa=lambda: lacking.add(len(lacking)))

    report = await embed_texts(
        texts,
        out,
        provider=provider,
        identity={"what": sorted(what), "max_characters": max_characters},
        batching=batching,
        embeddings=embeddings,
        options=options,
        keeping=keeping,
        following=seen,
    )
    if lacking:
        seen.notify(f"{len(lacking):,} records hold no QA: of them only the dialogue is embedded.")
    return report


async def embed_pairs(
    pairs: Callable[[], Iterable[QAPair | Unreadable]],
    out: str | Path,
    *,
    provider: Whom,
    max_characters: int = MAX_CHARACTERS,
    batching: Batching | None = None,
    embeddings: Embeddings | None = None,
    options: Options | None = None,
    keeping: Keeping | None = None,
    following: Following | None = None,
) -> RunReport:
    """As `embed_corpus`, of QAs that became no dialogue; `pairs` may be called twice."""
    return await embed_texts(
        lambda: pair_texts(pairs(), max_characters=max_characters),
        out,
        provider=provider,
        identity={"what": ["qa"], "max_characters": max_characters},
        batching=batching,
        embeddings=embeddings,
        options=options,
        keeping=keeping,
        following=following,
    )


async def embed_texts(
    texts: Callable[[], Iterable[Text | Unreadable]],
    out: str | Path,
    *,
    provider: Whom,
    identity: dict[str, Any],
    batching: Batching | None = None,
    embeddings: Embeddings | None = None,
    options: Options | None = None,
    keeping: Keeping | None = None,
    following: Following | None = None,
) -> RunReport:
    """As `embed_corpus`, of any texts; `texts` may be called twice, `identity` says how they were made.

    A text that the run has asked about is not asked about again, wherever it stands now and whatever its id: only new
    and changed ones make up requests. Where a request of several texts was refused (a content filter, a text too long),
    its texts are asked one by one afterwards: only those that are to blame stay without a vector.
    """
    folder = Path(out)
    local = any(endpoint.provider == "local" for endpoint in endpoints_of(provider))
    batching = batching or Batching(TEXTS_LOCAL if local else TEXTS)
    task = embedding_task(batching, **identity)
    reading, seen = _Reading(texts, folder), following or Following()
    await seen.aside(partial(reading.look, kin=options is None or not options.add_source))
    files = {VECTORS: partial(vector_chunks, listed=reading.listed), IDS: partial(id_lines, listed=reading.listed)}
    keeping = replace(keeping or Keeping(), files=files)

    async def asked(items: Iterable[Batch | Unreadable], seen: Following) -> RunReport:
        return await run_task(
            task,
            items,
            folder,
            provider=provider,
            options=options,
            embeddings=embeddings or Embeddings(),
            keeping=keeping,
            following=seen,
        )

    report = await asked(batches(reading.new(), batching), seen)
    if report.state != "done" or not (alone := _one_by_one(folder, task)):
        return report
    seen.notify(f"{len(alone):,} texts were refused together with others: each of them is asked alone.")
    return await asked(alone, replace(seen, retry_reasons=None))


@dataclass(slots=True)
class _Reading:
    """One reading of a corpus: `listed` is what stands in it, as far as it was read; `known` what the run had asked
    about when it had `rows` rows."""

    texts: Callable[[], Iterable[Text | Unreadable]]
    folder: Path
    listed: list[Listed] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    rows: int = 0

    def new(self) -> Iterator[Text | Unreadable]:
        """The texts that the run has not asked about, each once. To be read while the run is this process's."""
        if self.rows != (rows := _asked_rows(self.folder)):  # another process added some before this one had the run
            self.known, self.rows = _asked_about(self.folder), rows
        known = self.known
        self.listed.clear()
        for text in self.texts():
            if isinstance(text, Unreadable):
                yield text
                continue
            self.listed.append(Listed.of(text))
            if text.asked not in known:
                known.add(text.asked)
                yield text

    def look(self, *, kin: bool) -> None:
        """What the run has asked about. With `kin` raises `OtherSourceError` where it is other texts than these."""
        self.rows = _asked_rows(self.folder)
        self.known = known = _asked_about(self.folder)
        if kin:
            names = (text.asked for text in self.texts() if isinstance(text, Text)) if known else ()
            check_kin(names, known, self.folder, what="texts", make=f"smile embed CORPUS {self.folder}")


def _asked_about(folder: Path) -> set[str]:
    """Of all texts in the run, whatever became of them: `Text.asked`."""
    if not (folder / schema.DATABASE).exists():
        return set()
    with schema.reading(folder) as reader:
        return {text.asked for item in asked_items(reader) for text in load_texts(item)}


def _asked_rows(folder: Path) -> int:
    """How many there are; a row's texts never change, and none is ever taken away."""
    if not (folder / schema.DATABASE).exists():
        return 0
    with schema.reading(folder) as reader:
        return count_asked(reader)


def _one_by_one(folder: Path, task: Task[Batch, Any]) -> list[Batch]:
    """The texts of requests that were refused as a whole, each for itself, but for those that were asked so already."""
    refused = [aside.item for aside in set_aside(folder, task) if aside.item and aside.reason in BY_THE_TEXT]
    together = [text for batch in refused if len(batch) > 1 for text in batch]
    if not together:
        return []
    with schema.reading(folder) as reader:
        tried = {batch[0].asked for item in asked_items(reader) if len(batch := load_texts(item)) == 1}
    return [(text,) for text in together if text.asked not in tried]
