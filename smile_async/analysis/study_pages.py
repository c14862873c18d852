"""What a study found, written down: tables.md, results.json, CSV, and figures as PNG and SVG."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import orjson

from smile_async.analysis import plots
from smile_async.analysis.report import Curve, Figure, Topics, TopicShare
from smile_async.analysis.study import Study, StudyReport
from smile_async.analysis.study_places import METHODS, PAIRS
from smile_async.analysis.study_results import SMILE, StudyResults, measure
from smile_async.analysis.study_tables import Titled, named, study_tables
from smile_async.analysis.tokenization import load_tokenizer
from smile_async.analysis.topic_entropy import TopicTable
from smile_async.corpus.card import escaped, markdown_table
from smile_async.errors import MissingExtraError
from smile_async.filing import whole_file
from smile_async.prompt.topics import load_topics
from smile_async.provider.e5 import require_e5
from smile_async.provider.local import require_llama

MARKDOWN, RESULTS, TABLES, FIGURES = "tables.md", "results.json", "tables", "figures"
FEW = 100  # dialogues of a method, below which a set says little


@dataclass(frozen=True, slots=True)
class Written:
    """What was found, its tables, what a reader has to know beforehand, and the `files` that hold it all."""

    results: StudyResults
    tables: tuple[Titled, ...]
    caveats: tuple[str, ...]
    files: tuple[Path, ...]


def check_installed(study: Study) -> None:
    """Raises before anything is asked and paid for, `MissingExtraError` or `UsageError`, where a later step or the end
    would lack what it needs."""
    load_tokenizer(study.tokenizer)
    if study.chat.local or study.topics.local:
        require_llama()
    if study.embed.local:
        require_e5()
    try:
        import matplotlib  # noqa: F401, ICN001
    except ImportError as error:
        raise MissingExtraError("Figures as files", "analysis") from error


def write_study(study: Study, report: StudyReport, notify: Callable[[str], None] = lambda _text: None) -> Written:
    """Measure a study that is done and write it down in its folder; what stood there is replaced."""
    out = report.folder
    found = measure(out, tokenizer=load_tokenizer(study.tokenizer), seed=study.seed)
    tables, known = study_tables(found, report.steps), caveats(study)
    files = [
        _write(out / MARKDOWN, _markdown(study, tables, known).encode()),
        _write(out / RESULTS, _json(study, found, tables, known)),
        *(_write(out / TABLES / f"{one.table.name}.csv", one.table.csv().encode()) for one in tables),
        *_figures(found, out / FIGURES, notify),
    ]
    return Written(found, tables, known, tuple(files))


def caveats(study: Study) -> tuple[str, ...]:
    """What is small and poor about a study, or not as the paper has it, by what was asked."""
    told = []
    if study.rows < FEW:
        pairs = study.rows * (study.rows - 1) // 2
        told.append(
            f"{study.rows} dialogues a method, where the paper has 500: {pairs:,} pairs in Figure 5, not 124,750,"
            " and a line in Figure 4 from so few cosines. Differences between the sets may be chance."
        )
    if study.chat.local:
        told.append(
            "The dialogues were written by the embedded model, a base model that follows no instruction: two worked"
            " examples and a grammar give them their form, and their content is poor. They compare the recipes"
            f" {', '.join(study.recipe(name).name for name in ('standard', 'standardT', 'smile'))}, not the paper's"
            " prompts. Nobody should train on them or show them to anybody who looks for help."
        )
    if study.topics.local:
        told.append(
            "The topics are the embedded model's guesses, held to at most three of the 60 names by a grammar: unlimited"
            " topics cannot differ from limited ones, and Figure 11's prompt was not asked."
        )
    if study.embed.local:
        told.append(
            "Vectors are multilingual-e5-small's in place of text-embedding-ada-002's: its cosines sit in a narrow band"
            " high up. Compare orders and distributions, not the numbers of the paper."
        )
    if study.source is None:
        told.append("The QAs are a dozen made-up ones that come with this package, not PsyQA.")
    if study.tokenizer == "characters":
        told.append("Table 1 counts characters; the paper counted ChatGLM2-6B's tokens.")
    return tuple(told)


def _markdown(study: Study, tables: Sequence[Titled], known: Sequence[str]) -> str:
    parts = ["# The study", "", *[f"- {escaped(one)}" for one in known], ""]
    if study.command:
        parts += [f"    {study.command}", ""]
    for one in tables:
        parts += [f"## {escaped(one.title)}", "", markdown_table(one.heads, one.cells), ""]
        parts += [f"{escaped(note)}\n" for note in one.notes]
        if one.shown is not None and one.shown < len(one.table.rows):
            parts += [f"The {one.shown} most frequent of {len(one.table.rows)}; all: {TABLES}/{one.table.name}.csv\n"]
    return "\n".join(parts)


def _json(study: Study, found: StudyResults, tables: Sequence[Titled], known: Sequence[str]) -> bytes:
    told = {
        "study": study.as_json(),
        "tokenizer": study.tokenizer,
        "caveats": known,
        **found.as_json(),
        "tables": {one.table.name: one.table.records() for one in tables},
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


WORDS: Mapping[plots.Tongue, tuple[str, str]] = {
    "en": ("{set}, own QA", "{set}, random QA"),
    "zh": ("{set}，自身问答", "{set}，随机问答"),
}


def _figures(found: StudyResults, folder: Path, notify: Callable[[str], None]) -> list[Path]:
    """In English, and in Chinese where there is a font for it."""
    written = []
    topics = {f"topics-{method}": _topics(one) for method, one in found.topics.items()}
    for tongue in get_args(plots.Tongue):
        try:
            written += plots.draw_figures(_curves(found, tongue), topics, folder / tongue, tongue)
        except plots.MissingFontError as error:
            notify(f"{error}\nThe figures are in English only.")
    return written


def _curves(found: StudyResults, tongue: plots.Tongue) -> list[Figure]:
    own, random = WORDS[tongue]
    transformed = tuple(
        Curve((own if one.own else random).format(set=named(one.method)), one.cosines)
        for one in found.transformed
        if one.own or one.method != SMILE  # the paper's three; smile's with random QAs stand in the table
    )
    sets = {one.name: one.pairs for one in found.comparison.sets if one.pairs is not None}
    order = [SMILE, *(name for name in METHODS if name != SMILE), PAIRS]  # a method has one colour in both figures
    pairs = tuple(Curve(named(name), sets[name]) for name in order if name in sets)
    return [Figure("figure-4", transformed, found.line), Figure("figure-5", pairs)]


def _topics(found: TopicTable) -> Topics:
    chinese, english = ({one.index: one.name for one in load_topics(language)} for language in ("zh", "en"))
    shares = tuple(
        TopicShare(chinese[row.index], english[row.index], row.dialogues, row.index, crisis=row.crisis)
        for row in found.rows
        if row.dialogues
    )
    return Topics(shares, found.dialogues)


def _write(path: Path, content: bytes) -> Path:
    with whole_file(path, overwrite=True) as file:
        file.write(content)
    return path
