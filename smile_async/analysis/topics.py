"""The topics of a corpus's dialogues, asked for through the one engine (section 5.3, Appendix D)."""

import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import orjson

from smile_async.analysis.digests import ByText, Fate, text_digest
from smile_async.analysis.labels import Labels, NearMiss, read_labels
from smile_async.corpus.formats import PAPER_ROLES, Record, RoleMap
from smile_async.dialogue.model import Dialogue
from smile_async.engine import account, schema
from smile_async.engine.job import Message, Reply, Request
from smile_async.engine.retry import CONTENT_FILTER
from smile_async.engine.revision import Revision
from smile_async.engine.run import RunReport
from smile_async.engine.task import Accepted, Rejected, Task
from smile_async.errors import RunNotFoundError
from smile_async.kinship import own_rows
from smile_async.notes import Whom
from smile_async.options import Options
from smile_async.prompt.annotation import Language, annotation_prompt
from smile_async.prompt.topics import Topic, load_topics
from smile_async.settings import Sampling
from smile_async.tasks import Following, Keeping, rejudge_task, run_task

SAMPLING = Sampling(temperature=0.7, top_p=0.8)  # Appendix D
LONGEST_OWN = {"zh": 12, "en": 40}  # characters of a label beyond the 60; the longest of these have 10 and 39
MAX_TOKENS = 1_024  # of an answer: all 60 names take about 400
TOPICS = "topics.jsonl"
BOTH = 2  # who speak
SHOWN = "shown"  # of a run's identity: characters; of longer dialogues the annotator saw beginning and end alone
LANGUAGE = "language"  # the key under which a run notes it
SPEAKERS: Mapping[Language, tuple[str, str]] = {"zh": ("求助者：", "支持者："), "en": ("Client: ", "Counselor: ")}

_SPEAKER = re.compile("^(?:" + "|".join(re.escape(label) for both in SPEAKERS.values() for label in both) + ")")


@dataclass(frozen=True, slots=True)
class Annotated:
    """A dialogue that is to be labelled: its record's id, and its text as the annotator reads it."""

    id: str
    text: str


def spoken_text(dialogue: Dialogue, roles: RoleMap, language: Language) -> str:
    """One utterance a line, with who speaks: Figure 11 leaves open how `{single dialogue}` is written."""
    labels = dict(zip((roles.user, roles.assistant), SPEAKERS[language], strict=True))
    return "\n".join(f"{labels.get(one.role, f'{one.role}: ')}{one.content}" for one in dialogue.utterances)


def said_digest(spoken: str) -> str:
    """The digest of a `spoken_text`, the same in both languages: of what was said, without the words for the two who
    speak."""
    return text_digest("\n".join(_SPEAKER.sub("", line, count=1) for line in spoken.split("\n")))


def record_digests(record: Record, roles: RoleMap) -> tuple[str, ...]:
    """Those of the record's dialogue, as `topics.jsonl` has one of them: by these roles, and by whatever two roles it
    has, so that no words for the two who speak keep labels from their dialogue."""
    spoken = dict.fromkeys(one.role for one in record.dialogue.utterances)
    own = [roles, RoleMap(*[*spoken, "", ""][:2])] if len(spoken) <= BOTH else [roles]
    return tuple(said_digest(spoken_text(record.dialogue, pair, "zh")) for pair in own)


def is_label(told: str, language: Language) -> bool:
    """Whether it may be a topic of the annotator's own, and is no piece of a sentence or of a dialogue."""
    return "：" not in told and len(told) <= LONGEST_OWN[language]


def topic_task(language: Language = "zh", *, max_tokens: int = MAX_TOKENS) -> Task[Annotated, Labels]:
    """Figure 11's prompt; an answer is good when it names at least one label, of the 60 or not.

    Rejected are `empty`, `truncated`, `refused`, `content-filter` and `no-topics` (nothing but prose).
    """
    topics = load_topics(language)

    def accept(_one: Annotated, reply: Reply) -> Accepted[Labels] | Rejected:
        if reply.finish_reason == CONTENT_FILTER.replace("-", "_"):
            return Rejected(CONTENT_FILTER, reply.filtered or "finish_reason content_filter")
        if reply.refusal:
            return Rejected("refused")
        if reply.finish_reason == "length":
            return Rejected("truncated", "the answer was cut off: --max-tokens")
        labels = read_labels(reply.text, topics)
        if not labels.topics and not any(is_label(one, language) for one in labels.others):
            return Rejected("no-topics" if reply.text.strip() else "empty")
        flags = [("none-of-the-60", not labels.topics), ("near-miss", bool(labels.near)), ("prose", labels.prose > 0)]
        return Accepted(labels, tuple(name for name, there in flags if there))

    return Task(
        name="topics",
        render=lambda one: Request((Message("user", annotation_prompt(one.text, language)),), max_tokens),
        accept=accept,
        dump_item=lambda one: orjson.dumps([one.id, one.text]),
        load_item=lambda data: Annotated(*orjson.loads(data)),
        dump_value=dump_labels,
        load_value=load_labels,
        identity={LANGUAGE: language, "prompt": _digest(language), "max_tokens": max_tokens},
        source_id=lambda one: one.id,
    )


def _digest(language: Language) -> str:
    return hashlib.sha256(annotation_prompt("", language).encode()).hexdigest()[:16]


def dump_labels(labels: Labels) -> bytes:
    near = [[miss.label, miss.index] for miss in labels.near]
    return orjson.dumps({"topics": labels.topics, "near": near, "others": labels.others, "prose": labels.prose})


def load_labels(data: bytes) -> Labels:
    values = orjson.loads(data)
    near = tuple(NearMiss(label, index) for label, index in values["near"])
    return Labels(tuple(values["topics"]), near, tuple(values["others"]), values["prose"])


async def annotate_topics(
    records: Iterable[Record],
    out: str | Path,
    *,
    provider: Whom,
    language: Language = "zh",
    roles: RoleMap = PAPER_ROLES,
    options: Options | None = None,
    keeping: Keeping | None = None,
    following: Following | None = None,
) -> RunReport:
    """The topics of every dialogue in the run folder `out`; the same call again goes on.

    `topics.jsonl` then has a line a dialogue: id, digest of what was said, topics (names), indices, near_misses,
    others, crisis. A dialogue that has changed is asked about again, and its new line stands in place of the old one.
    Without another sampling in `options` the paper's is taken: temperature 0.7, top_p 0.8. Raises as `run_task`, and
    `RunMismatchError` for records that have hardly anything in common with what the folder holds
    (`Options.add_source`).
    """
    options, seen = options or Options(), following or Following()
    task = topic_task(language, max_tokens=options.sampling.max_tokens or MAX_TOKENS)
    spoken = Spoken(records, roles, language)
    return await run_task(
        task,
        await seen.aside(partial(spoken.items, task, out, options)),
        out,
        provider=provider,
        options=options,
        sampling=SAMPLING,
        keeping=spoken.keeping(keeping or Keeping()),
        following=seen,
    )


@dataclass(frozen=True, slots=True)
class Spoken:
    """The dialogues of a corpus as the annotator reads them; `listed` are ids and digests of those that were read."""

    records: Iterable[Record]
    roles: RoleMap
    language: Language
    listed: list[tuple[str, str]] = field(default_factory=list)

    def items(self, task: Task[Annotated, Labels], out: str | Path, options: Options) -> Iterator[Annotated]:
        """Raises `OtherSourceError` where the run in `out` has labels of other dialogues."""
        if options.add_source:
            return self._read()
        make = f"smile topics annotate CORPUS {out}"
        return own_rows(self._read(), task, Path(out), what="dialogues", make=make)

    def keeping(self, keeping: Keeping) -> Keeping:
        notes = {**keeping.notes, LANGUAGE: self.language}
        return replace(keeping, notes=notes, files={TOPICS: partial(topic_lines, listed=self.listed)})

    def _read(self) -> Iterator[Annotated]:
        for record in self.records:
            text = spoken_text(record.dialogue, self.roles, self.language)
            self.listed.append((record.row_id, said_digest(text)))
            yield Annotated(record.row_id, text)


async def reread_topics(folder: str | Path) -> tuple[Revision, account.Counts]:
    """Read every answer of a run again, as answers are read now, without asking anybody."""
    folder = Path(folder)
    with schema.reading(folder) as reader:
        language: Language = account.read_meta(reader, LANGUAGE) or "zh"
    listed = [(line["id"], line["digest"]) for line in _lines(folder / TOPICS) if "digest" in line]
    return await rejudge_task(folder, topic_task(language), {TOPICS: partial(topic_lines, listed=listed)})


def topic_lines(reader: sqlite3.Connection, listed: Iterable[tuple[str, str]] = ()) -> Iterator[bytes]:
    """The lines of `topics.jsonl`: of the dialogues that are `listed` (id, digest), in that order, then of others that
    the run was asked about, in theirs: of each id the last, and none whose id is listed with another text."""
    language: Language = account.read_meta(reader, LANGUAGE)
    names = {topic.index: topic.name for topic in load_topics(language)}
    shown = (account.read_meta(reader, "identity") or {}).get(SHOWN)
    found: dict[tuple[str, str], tuple[bytes, int]] = {}
    for row in account.result_rows(reader):
        text = orjson.loads(row.item)[1]
        found[row.source_id, said_digest(text)] = row.value, len(text)
    last = {ident: (ident, digest) for ident, digest in found}
    chosen = [key for key in dict.fromkeys(listed) if key in found]
    there = {ident for ident, _ in listed}
    chosen += [key for ident, key in last.items() if ident not in there]
    for ident, digest in chosen:
        value, length = found[ident, digest]
        labels = load_labels(value)
        line: dict[str, Any] = {
            "id": ident,
            "digest": digest,
            "topics": [names[index] for index in labels.topics],
            "indices": labels.topics,
            "near_misses": [{"label": miss.label, "near": names[miss.index]} for miss in labels.near],
            "others": labels.others,
            "crisis": labels.crisis,
        }
        if labels.crisis_near and not labels.crisis:
            line["crisis_near"] = True
        if shown is not None and length > shown:
            line["in_part"] = True
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Annotation:
    """What `topics.jsonl` holds: a record's id and its labels a row, and the topics in their language. `digests` has
    that of each row's dialogue, empty in files of before there were any."""

    rows: tuple[tuple[str, Labels], ...]
    topics: tuple[Topic, ...]
    digests: tuple[str, ...] = ()

    @property
    def labels(self) -> Iterator[Labels]:
        """Of each dialogue."""
        return (labels for _, labels in self.rows)

    def by_text(self) -> ByText[Labels]:
        return ByText(
            (ident, digest, labels)
            for (ident, labels), digest in zip(self.rows, self.digests or repeat(""), strict=False)
        )

    def of(self, records: Iterable[Record], roles: RoleMap) -> Iterator[tuple[Record, tuple[Labels, ...], Fate]]:
        """Each record with its labels, and what became of them: none where another dialogue was labelled under its
        id, and all that its id has where there are no digests."""
        by_text = self.by_text()
        for record in records:
            labels, fate = by_text.of(record.row_id, *record_digests(record, roles))
            yield record, tuple(labels), fate

    def fates(self, records: Iterable[Record], roles: RoleMap) -> Counter[Fate]:
        """How many records have labels that were made of them, by id alone, of another text, or none."""
        return Counter(fate for _, _, fate in self.of(records, roles))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def read_annotation(folder: str | Path) -> Annotation:
    """Raises `RunNotFoundError`."""
    path = Path(folder) / TOPICS
    if not path.is_file():
        raise RunNotFoundError(f"{folder} holds no {TOPICS}.", hint=f"Make it: smile topics annotate CORPUS {folder}")
    lines = _lines(path)
    chinese, english = load_topics("zh"), load_topics("en")
    spoken = {name for line in lines for name in line["topics"]}
    topics = english if spoken & {topic.name for topic in english} else chinese
    index_of = {topic.name: topic.index for topic in (*chinese, *english)}
    rows = [
        (
            line["id"],
            Labels(
                tuple(line["indices"]),
                tuple(NearMiss(miss["label"], index_of[miss["near"]]) for miss in line["near_misses"]),
                tuple(line["others"]),
                in_part=bool(line.get("in_part")),
            ),
        )
        for line in lines
    ]
    return Annotation(tuple(rows), topics, tuple(line.get("digest", "") for line in lines))


def labelling(annotation: Annotation, roles: RoleMap = PAPER_ROLES) -> Callable[[Record], Record]:
    """What gives a record its topics' names and the crisis column; one that was not annotated stays as it is.

    Where several rows have one id and their file no digests, each gets the topics of all of them: no crisis is
    overlooked for a name's sake.
    """
    names, by_text = {topic.index: topic.name for topic in annotation.topics}, annotation.by_text()

    def label(record: Record) -> Record:
        labels, _ = by_text.of(record.row_id, *record_digests(record, roles))
        if not labels:
            return record
        indices = tuple(dict.fromkeys(index for one in labels for index in one.topics))
        return replace(record, topics=tuple(names[index] for index in indices), crisis=Labels(indices).crisis)

    return label


def with_topics(records: Iterable[Record], annotation: Annotation, roles: RoleMap = PAPER_ROLES) -> Iterator[Record]:
    """The records, each as `labelling` leaves it."""
    return map(labelling(annotation, roles), records)
