"""Corpora: exports in the formats that people and trainers read."""

from smile_async.corpus.formats import (
    CorpusFormat,
    ExportReport,
    Record,
    RoleMap,
    paper_system_prompt,
    write_corpus,
)

__all__ = ["CorpusFormat", "ExportReport", "Record", "RoleMap", "paper_system_prompt", "write_corpus"]
