"""What a study measures, and what it writes down."""

import math

import orjson
import pytest

from smile_async.analysis.study import Asked, Study
from smile_async.errors import MissingExtraError
from smile_async.provider import e5
from smile_async.settings import Endpoint
from tests.analysis.studying import ROWS, Studying

np = pytest.importorskip("numpy", reason="pip install 'smile-async[analysis]'")
pytest.importorskip("matplotlib", reason="pip install 'smile-async[analysis]'")

from smile_async.analysis.study_pages import Written, caveats, check_installed, write_study  # noqa: E402
from smile_async.analysis.study_results import StudyResults, measure, study_sets, study_vectors  # noqa: E402
from smile_async.analysis.vectors import load_vectors  # noqa: E402


@pytest.fixture(scope="module")
def studying(tmp_path_factory: pytest.TempPathFactory) -> Studying:
    found = Studying(tmp_path_factory.mktemp("study"))
    assert found.go().state == "done"
    return found


@pytest.fixture(scope="module")
def results(studying: Studying) -> StudyResults:
    return measure(studying.out)


@pytest.fixture(scope="module")
def written(studying: Studying) -> Written:
    return write_study(studying.study(), studying.go())


def test_the_four_sets_stand_in_the_papers_order_and_qas_have_no_statistics(results: StudyResults) -> None:
    """Each dialogue has 6 exchanges: 6 turns."""
    sets = results.comparison.sets
    assert [(one.name, one.lexical.texts) for one in sets] == [
        ("psyqa", ROWS), ("standard", ROWS), ("standardT", ROWS), ("smile", ROWS),
    ]  # fmt: skip
    assert [one.statistics and one.statistics.turns_per_dialogue for one in sets] == [None, 6.0, 6.0, 6.0]
    assert all(one.pairs is not None and one.pairs.count == ROWS * (ROWS - 1) // 2 for one in sets)


def test_smiles_dialogues_lie_beside_the_qas_they_were_made_from(studying: Studying, results: StudyResults) -> None:
    """By hand, from the files: the QA with the dialogue's questionID."""
    out = studying.out
    pairs, told = load_vectors(out / "vectors/psyqa"), load_vectors(out / "vectors/smile")
    lines = [orjson.loads(line) for line in (out / "smile/corpus.jsonl").read_bytes().splitlines()]
    expected = []
    for line in lines:
        asked = pairs.array[pairs.ids.index(line["questionID"])].astype(float)
        answered = told.array[told.ids.index(line["id"])].astype(float)
        expected.append(asked @ answered / np.linalg.norm(asked) / np.linalg.norm(answered))

    own = results.transformed[0]
    assert (own.method, own.own, own.cosines.count) == ("smile", True, ROWS)
    assert own.cosines.mean == pytest.approx(np.mean(expected))
    assert results.line == pytest.approx(np.mean(expected) - 3 * np.std(expected))


def test_the_baselines_are_compared_with_random_qas_and_have_no_own(studying: Studying, results: StudyResults) -> None:
    assert [(one.method, one.own) for one in results.transformed] == [
        ("smile", True), ("standard", False), ("standardT", False), ("smile", False),
    ]  # fmt: skip
    vectors = study_vectors(studying.out, study_sets(studying.out))
    assert [name for name, held in vectors.items() if held.questions is not None] == ["smile"]


def test_table_2_counts_each_label_once_a_dialogue(results: StudyResults) -> None:
    """Both labels in all dialogues: p = 1, and -p log2 p = 0; of a label drawn, one bit."""
    table = results.topics["standard"]
    assert (table.dialogues, table.limited, table.average, table.topics_each) == (ROWS, 0.0, 0.0, 2.0)
    assert math.isclose(table.limited_normalised, 1.0)


def test_tables_figures_and_results_are_written_whole(studying: Studying, written: Written) -> None:
    out = studying.out
    names = {path.relative_to(out).as_posix() for path in written.files}
    tables = ("table-1", "table-2", "table-3", "figure-4", "figure-5", "topics", "steps")
    assert names >= {"tables.md", "results.json", *(f"tables/{name}.csv" for name in tables)}
    figures = ("figure-4", "figure-5", "topics-standard", "topics-standardT", "topics-smile")
    assert names >= {f"figures/en/{name}.{end}" for name in figures for end in ("png", "svg")}
    assert all(path.stat().st_size and path.stat().st_mode & 0o077 == 0 for path in written.files)
    told = orjson.loads((out / "results.json").read_bytes())
    assert set(told["tables"]) == set(tables)
    assert [one["name"] for one in told["sets"]] == ["psyqa", "standard", "standardT", "smile"]
    assert told["study"]["rows"] == ROWS
    assert len(told["tables"]["topics"]) == 60
    markdown = (out / "tables.md").read_text("utf-8")
    assert "| PsyQA\\* | 4 | 1 |" in markdown
    assert "- 4 dialogues a method, where the paper has 500: 6 pairs" in markdown


def test_the_numbers_of_a_table_are_those_of_the_results(written: Written) -> None:
    table = written.tables[0].table
    first = table.records()[0]
    held = written.results.comparison.sets[0].lexical.ngrams[0]
    assert (first["n"], first["unique"], first["total"]) == (1, held.unique, held.total)
    assert first["distinct"] == held.unique / held.total
    assert written.tables[0].cells[0][:4] == ("PsyQA*", "4", "1", f"{held.unique:,}")


def test_every_table_fits_a_terminal_of_80_columns(written: Written) -> None:
    from smile_async.cli.tables import Table, aligned

    for one in written.tables:
        lines = aligned(Table(one.title, one.heads, one.cells)).splitlines()
        assert max(map(len, lines)) <= 80, one.title


def test_what_the_last_steps_need_is_looked_for_before_the_first(
    studying: Studying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e5, "find_spec", lambda _name: None)
    check_installed(studying.study())
    with pytest.raises(MissingExtraError, match="embedding model"):
        check_installed(studying.study(embed=Asked([Endpoint(provider="local")])))


def test_what_is_small_and_poor_is_said_by_what_was_asked(studying: Studying) -> None:
    local = Asked([Endpoint(provider="local")])
    small = " ".join(caveats(Study(local, local, local, rows=8)))
    assert "28 pairs" in small  # 8 x 7 / 2
    for words in ("no instruction", "Nobody should train", "guesses", "multilingual-e5-small", "made-up", "characters"):
        assert words in small
    asked = studying.study(rows=500, tokenizer="THUDM/chatglm2-6b")
    assert caveats(asked) == ()
