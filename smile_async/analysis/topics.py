"""The topics of a corpus's dialogues, asked for through the one engine (section 5.3, Appendix D)."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

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
LANGUAGE = "language"  # the key under which a run notes it
SPEAKERS: Mapping[Language, tuple[str, str]] = {"zh": ("求助者：", "支持者："), "en": ("Client: ", "Counselor: ")}


@dataclass(frozen=True, slots=True)
class Annotated:
    """A dialogue that is to be labelled: its record's id, and its text as the annotator reads it."""

    id: str
    text: str


def spoken_text(dialogue: Dialogue, roles: RoleMap, language: Language) -> str:
    """One utterance a line, with who speaks: Figure 11 leaves open how `{single dialogue}` is written."""
    labels = dict(zip((roles.user, roles.assistant), SPEAKERS[language], strict=True))
    return "\n".join(f"{labels.get(one.role, f'{one.role}: ')}{one.content}" for one in dialogue.utterances)


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

    `topics.jsonl` then has a line a dialogue: id, topics (names), indices, near_misses, others, crisis. Without another
    sampling in `options` the paper's is taken: temperature 0.7, top_p 0.8. Raises as `run_task`.
    """
    options = options or Options()
    task = topic_task(language, max_tokens=options.sampling.max_tokens or MAX_TOKENS)
    keeping = keeping or Keeping()
    return await run_task(
        task,
        (Annotated(record.row_id, spoken_text(record.dialogue, roles, language)) for record in records),
        out,
        provider=provider,
        options=options,
        sampling=SAMPLING,
        keeping=replace(keeping, notes={**keeping.notes, LANGUAGE: language}, files={TOPICS: topic_lines}),
        following=following,
    )


async def reread_topics(folder: str | Path) -> tuple[Revision, account.Counts]:
    """Read every answer of a run again, as answers are read now, without asking anybody."""
    folder = Path(folder)
    with schema.reading(folder) as reader:
        language: Language = account.read_meta(reader, LANGUAGE) or "zh"
    return await rejudge_task(folder, topic_task(language), {TOPICS: topic_lines})


def topic_lines(reader: sqlite3.Connection) -> Iterator[bytes]:
    """The lines of `topics.jsonl`, in the corpus's order."""
    language: Language = account.read_meta(reader, LANGUAGE)
    names = {topic.index: topic.name for topic in load_topics(language)}
    for _row_id, source_id, value, _note in account.result_values(reader):
        labels = load_labels(value)
        line: dict[str, Any] = {
            "id": source_id,
            "topics": [names[index] for index in labels.topics],
            "indices": labels.topics,
            "near_misses": [{"label": miss.label, "near": names[miss.index]} for miss in labels.near],
            "others": labels.others,
            "crisis": labels.crisis,
        }
        if labels.crisis_near and not labels.crisis:
            line["crisis_near"] = True
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class Annotation:
    """What `topics.jsonl` holds: a record's id and its labels a row, and the topics in their language."""

    rows: tuple[tuple[str, Labels], ...]
    topics: tuple[Topic, ...]

    @property
    def labels(self) -> Iterator[Labels]:
        """Of each dialogue."""
        return (labels for _, labels in self.rows)


def read_annotation(folder: str | Path) -> Annotation:
    """Raises `RunNotFoundError`."""
    path = Path(folder) / TOPICS
    if not path.is_file():
        raise RunNotFoundError(f"{folder} holds no {TOPICS}.", hint=f"Make it: smile topics annotate CORPUS {folder}")
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
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
            ),
        )
        for line in lines
    ]
    return Annotation(tuple(rows), topics)


def with_topics(records: Iterable[Record], annotation: Annotation) -> Iterator[Record]:
    """The records with their topics' names and the crisis column; one that was not annotated as it was.

    Where several rows have one id, each gets the topics of all of them: no crisis is overlooked for a name's sake.
    """
    names = {topic.index: topic.name for topic in annotation.topics}
    found: dict[str, dict[int, None]] = {}
    for row_id, labels in annotation.rows:
        found.setdefault(row_id, {}).update(dict.fromkeys(labels.topics))
    for record in records:
        indices = found.get(record.row_id)
        if indices is None:
            yield record
        else:
            crisis = Labels(tuple(indices)).crisis
            yield replace(record, topics=tuple(names[index] for index in indices), crisis=crisis)
