"""Tables as files."""

from smile_async.analysis.table import Column, Table

TABLE = Table(
    "failures",
    (Column("kind", "code"), Column("attempts"), Column("share", "share", 1)),
    (('=HYPERLINK("http://elsewhere.example")', 3, float("nan")), ('a "quoted", cell', 1, 0.25)),
)


def test_a_cell_is_no_formula_for_a_spreadsheet() -> None:
    lines = TABLE.csv().splitlines()
    assert lines == [
        "kind,attempts,share",
        '"\'=HYPERLINK(""http://elsewhere.example"")",3,',
        '"a ""quoted"", cell",1,0.25',
    ]


def test_what_is_not_known_is_null() -> None:
    assert TABLE.records()[0] == {"kind": '=HYPERLINK("http://elsewhere.example")', "attempts": 3, "share": None}
