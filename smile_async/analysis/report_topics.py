"""Topics that were annotated, as the report shows them: Figure 11 and Table 2."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from smile_async.analysis.digests import Fate, told
from smile_async.analysis.labels import Labels
from smile_async.analysis.report import Findings, Look, Topics, TopicShare
from smile_async.analysis.table import Column, Table
from smile_async.analysis.topic_entropy import TopicTable, topic_table
from smile_async.analysis.topics import read_annotation
from smile_async.corpora import Corpus
from smile_async.errors import UsageError
from smile_async.prompt.topics import load_topics


def topics_look(folder: str | Path, notify: Callable[[str], None] = lambda _text: None) -> Look:
    """`folder` is what `smile topics annotate` wrote of this corpus; dialogues without labels, or with those of another
    text, are left out, and the tables say how many have some; `notify` is told. Raises `UsageError` for the labels of
    another corpus."""

    def look(corpus: Corpus) -> Findings:
        annotation, labelled, fates = read_annotation(folder), list[Labels](), Counter[Fate]()
        for _, labels, fate in annotation.of(corpus, corpus.roles):
            fates[fate] += 1
            labelled += labels[-1:]
        if not labelled:
            raise UsageError(
                f"{folder} holds labels of other dialogues: none of those in {corpus.path} is among them.",
                hint="Annotate this very corpus (smile topics annotate), or name the folder that was made of it.",
            )
        for line in told(fates, "labels", folder, f"smile topics annotate {corpus.path} {folder}"):
            notify(line)
        found = topic_table(labelled, annotation.topics)
        if found.note:
            notify(found.note)
        return Findings(tables=(entropy_table(found), topics_table(found)), topics=topics(found))

    return look


def topics(found: TopicTable) -> Topics:
    """Those that occur, the most frequent first, by their names in both languages."""
    chinese, english = ({topic.index: topic.name for topic in load_topics(language)} for language in ("zh", "en"))
    shares = tuple(
        TopicShare(chinese[row.index], english[row.index], row.dialogues, row.index, row.crisis)
        for row in found.rows
        if row.dialogues
    )
    return Topics(shares, found.dialogues)


def entropy_table(found: TopicTable) -> Table:
    """Table 2: the paper's occurrence entropy, and the normalised one beside it, in bits."""
    columns = (Column("labels", "code"), Column("entropy", "number", 3), Column("normalized", "number", 3))
    both = (found.limited_normalised + found.unlimited_normalised) / 2
    rows = (
        ("limited", found.limited, found.limited_normalised),
        ("unlimited", found.unlimited, found.unlimited_normalised),
        ("average", found.average, both),
    )
    return Table("entropy", columns, rows)


def topics_table(found: TopicTable) -> Table:
    columns = (
        Column("number"), Column("topic", "text"), Column("dialogues"), Column("share", "share", 1),
        Column("crisis", "text"),
    )  # fmt: skip
    rows = tuple((row.index, row.name, row.dialogues, row.share, "yes" if row.crisis else "") for row in found.rows)
    return Table("topics", columns, rows)
