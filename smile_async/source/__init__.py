"""Sources of QA pairs: readers as lazy streams, cleaning with its review list, sampling."""

from smile_async.source.clean import SetAside, clean_pair, clean_text, load_words, truncate
from smile_async.source.prepare import PrepareReport, prepare, prepare_pair
from smile_async.source.prepared import write_pairs
from smile_async.source.readers import Source, open_source, rows_from
from smile_async.source.review import find_hugs
from smile_async.source.rows import BadRow, ColumnMapping, SourceRow
from smile_async.source.sample import sample

__all__ = [
    "BadRow",
    "ColumnMapping",
    "PrepareReport",
    "SetAside",
    "Source",
    "SourceRow",
    "clean_pair",
    "clean_text",
    "find_hugs",
    "load_words",
    "open_source",
    "prepare",
    "prepare_pair",
    "rows_from",
    "sample",
    "truncate",
    "write_pairs",
]
