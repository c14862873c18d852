"""Figures and tables as files."""

from dataclasses import replace
from pathlib import Path

import pytest

from smile_async.analysis import plots
from smile_async.analysis.distribution import distribution
from smile_async.analysis.report import Curve, Figure, Findings, Report, Topics, TopicShare, gather
from tests.analysis.hostile import HOSTILE, hostile_run

EDGES = [place / 20 for place in range(21)]
OWN, OTHER = distribution([0.93, 0.95, 0.97], EDGES), distribution([0.7, 0.8], EDGES)
FINDINGS = Findings(
    figures=(
        Figure("figure-4", (Curve("own", OWN), Curve(HOSTILE[0], OTHER)), OWN.mean - 3 * OWN.deviation),
        Figure("figure-5", (Curve("pairs", OTHER),)),
    ),
    topics=Topics((TopicShare("焦虑", "Anxiety $x^2$", 2), TopicShare("自杀倾向", "Suicide", 1, 57, crisis=True)), 3),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    found = gather(hostile_run(tmp_path_factory.mktemp("run")))
    return replace(found, findings=FINDINGS)


def test_every_figure_is_a_png_and_an_svg_and_every_table_csv_and_json(report: Report, tmp_path: Path) -> None:
    """A missing glyph would be a warning, and warnings are errors here: the Chinese is there. This test needs a font
    that holds Chinese, as `.ci/run` installs it."""
    if plots.chinese_font() is None:
        _needs_a_font()
    written = plots.write_figures(report, tmp_path, ["zh"])
    figures = {"turns", "dialogue-lengths", "utterance-lengths", "rates-default", "figure-4", "figure-5", "topics"}
    assert {path.name for path in (tmp_path / "zh").iterdir()} == {
        f"{name}.{end}" for name in figures for end in ("png", "svg")
    }
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {table.name for table in report.every_table}
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*.*") if path.is_file())
    assert (tmp_path / "zh" / "turns.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "zh" / "figure-4.svg").read_text("utf-8")
    assert "<svg" in drawn
    assert "<script" not in drawn


def _needs_a_font() -> None:
    import os

    told = "needs a font that holds Chinese: `apt-get install fonts-wqy-microhei`"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


def test_the_same_report_draws_the_same_bytes(report: Report, tmp_path: Path) -> None:
    bare = replace(report, findings=Findings(figures=(FINDINGS.figures[0],)), shape=None, run=None)
    for name in ("first", "second"):
        plots.write_figures(bare, tmp_path / name, ["en"])
    for end in ("png", "svg"):
        first, second = ((tmp_path / name / "en" / f"figure-4.{end}").read_bytes() for name in ("first", "second"))
        assert first == second


def test_a_missing_font_is_named_with_what_to_install(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "FONTS", {"No Such Sans": "no-such-file"})
    with pytest.raises(plots.MissingFontError, match="fonts-wqy-microhei"):
        plots.write_figures(report, tmp_path, ["zh"])
