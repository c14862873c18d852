"""The report's figures as PNG and SVG for papers, and its tables as CSV and JSON."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson

from smile_async.analysis.distribution import Distribution
from smile_async.analysis.page import words
from smile_async.analysis.report import Figure, Report, Topics
from smile_async.analysis.shape import Shape
from smile_async.analysis.timeline import A_DAY, EndpointTime, Step, Timeline
from smile_async.engine.account import NAMED
from smile_async.errors import MissingExtraError, UsageError
from smile_async.filing import whole_file
from smile_async.run_folder import UNNAMED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Tongue = Literal["en", "zh"]

TEAL, RUST, AMBER, RED, INK, SOFT = "#12907f", "#a9480f", "#c07a12", "#b3372b", "#1d1c1a", "#6f6a63"
DPI = 200
WIDE, TALL = 6.4, 3.6  # inches
TOPICS = 30  # the most frequent that are drawn
FONTS = {
    "Noto Sans CJK SC": "NotoSansCJK-Regular",
    "Noto Sans CJK JP": "NotoSansCJK-Regular",  # how matplotlib calls the file's first face; it holds all of them
    "Source Han Sans SC": "SourceHanSansSC-Regular",
    "Noto Sans SC": "NotoSansSC",
    "WenQuanYi Micro Hei": "wqy-microhei",
    "WenQuanYi Zen Hei": "wqy-zenhei",
    "PingFang SC": "PingFang",
    "Hiragino Sans GB": "Hiragino Sans GB",
    "Microsoft YaHei": "msyh",
    "SimHei": "simhei",
    "Droid Sans Fallback": "DroidSansFallback",
    "Arial Unicode MS": "Arial Unicode",
}
"""Fonts that hold Chinese, the best first, by family and by how their files are called."""


class MissingFontError(UsageError):
    """No font that holds Chinese was found."""

    def __init__(self) -> None:
        super().__init__(
            f"Figures in Chinese need a font that holds Chinese, and none was found of: {', '.join(FONTS)}.",
            hint="apt-get install fonts-wqy-microhei (or another of them), or draw in English: --lang en.",
        )


def write_figures(report: Report, folder: str | Path, tongues: Sequence[Tongue]) -> list[Path]:
    """Each figure as `FOLDER/LANGUAGE/NAME.png` and `.svg`, each table as `FOLDER/tables/NAME.csv` and `.json`; files
    of these names are replaced. Raises `MissingExtraError` without matplotlib, `MissingFontError` for `zh` without a
    font."""
    folder = Path(folder)
    written = write_tables(report, folder / "tables")
    for tongue in tongues:
        with _style(tongue):
            for name, draw in _figures(report, tongue).items():
                written += _drawn(folder / tongue / name, draw)
    return written


def draw_figures(
    figures: Sequence[Figure], topics: Mapping[str, Topics], folder: str | Path, tongue: Tongue
) -> list[Path]:
    """Figures of several sets, which no single report holds: `FOLDER/NAME.png` and `.svg`; `topics` by their figures'
    names. Raises as `write_figures`."""
    said, written = _said(tongue), list[Path]()
    with _style(tongue):
        drawn = {each.name: _cosines(each, said) for each in figures}
        drawn |= {name: _topics(each, tongue, said) for name, each in topics.items()}
        for name, draw in drawn.items():
            written += _drawn(Path(folder) / name, draw)
    return written


def write_tables(report: Report, folder: Path) -> list[Path]:
    written = []
    for table in report.every_table:
        as_json = orjson.dumps(table.records(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        for ending, content in (("csv", table.csv().encode()), ("json", as_json)):
            written.append(_write(folder / f"{table.name}.{ending}", content))
    return written


def chinese_font() -> str | None:
    """The family of a font that holds Chinese; files that matplotlib's own list does not know yet are looked at, too.
    None where there is none."""
    from matplotlib import font_manager

    def known() -> str | None:
        families = {font.name for font in font_manager.fontManager.ttflist}
        return next((family for family in FONTS if family in families), None)

    if (found := known()) is not None:
        return found
    for path in font_manager.findSystemFonts():
        if any(Path(path).stem.lower().startswith(stem.lower()) for stem in FONTS.values()):
            font_manager.fontManager.addfont(path)
    return known()


@contextmanager
def _style(tongue: Tongue) -> Iterator[None]:
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise MissingExtraError("Figures as files", "analysis") from error
    family = ["DejaVu Sans"]
    if tongue == "zh":
        if (found := chinese_font()) is None:
            raise MissingFontError
        family = [found, *family]
    else:  # names of sets and topics may be Chinese in a figure in English
        family += [found] if (found := chinese_font()) is not None else []
    grid = {"axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True, "grid.color": "#e7e2da"}
    style: Any = grid | {
        "font.family": family, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": SOFT, "axes.labelcolor": INK, "xtick.color": SOFT, "ytick.color": SOFT, "text.color": INK,
        "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titleweight": "bold", "legend.frameon": False,
        "legend.fontsize": 8, "svg.hashsalt": "smile", "axes.unicode_minus": False,
    }  # fmt: skip
    with mpl.rc_context(style):
        yield


Draw = Callable[[Any], None]
"""Draws on a matplotlib figure."""


def _figures(report: Report, tongue: Tongue) -> dict[str, Draw]:
    said = _said(tongue)
    found: dict[str, Draw] = {}
    if report.shape is not None and report.shape.dialogues:
        form = report.shape
        found["turns"] = lambda figure: _one(figure, form.turns, said("shape.turns"), said("c.dialogues"), middle=True)
        found["dialogue-lengths"] = lambda figure: _one(figure, form.length, said("shape.length"), said("c.dialogues"))
        found["utterance-lengths"] = lambda figure: _utterances(figure, form, said)
    if report.run is not None and (over_time := report.run.timeline) is not None:
        for one in over_time.endpoints:
            found[f"rates-{one.name or UNNAMED}"] = _rates(over_time, one, said)
    for each in report.findings.figures:
        found[each.name] = _cosines(each, said)
    if report.findings.topics is not None:
        found["topics"] = _topics(report.findings.topics, tongue, said)
    return found


Said = Callable[[str], str]


def _said(tongue: Tongue) -> Said:
    place, every = {"en": 0, "zh": 1}[tongue], words()
    return lambda key: every[key][place] if key in every else key


def _one(figure: Any, values: Distribution, label: str, what: str, *, middle: bool = False) -> None:
    """A histogram with its median. `middle`: bins of one whole number stand over it."""
    axes = figure.add_subplot()
    edges, counts = values.histogram.edges, values.histogram.counts
    shift = 0.5 if middle else 0.0
    widths = [after - before for before, after in pairwise(edges)]
    starts = [edge - shift for edge in edges[:-1]]
    axes.bar(starts, counts, widths, align="edge", color=TEAL, edgecolor="white", linewidth=0.6)
    axes.axvline(values.median, color=INK, linewidth=1, linestyle=":")
    axes.set(xlabel=label, ylabel=what)
    axes.annotate(f"{values.median:g}", (values.median, 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
                  textcoords="offset points", fontsize=8)  # fmt: skip
    held = [place for place, count in enumerate(counts) if count]
    axes.set_xlim(edges[held[0]] - shift - widths[0] / 2, edges[held[-1] + 1] - shift + widths[0] / 2)


def _steps(axes: "Axes", values: Distribution, color: str, label: str) -> None:
    """As a share of all, so that sets of different sizes can be compared."""
    counts = values.histogram.counts
    whole = sum(counts) or 1
    shares = [count / whole for count in counts]
    axes.stairs(shares, values.histogram.edges, color=color, fill=True, alpha=0.28)
    axes.stairs(shares, values.histogram.edges, color=color, linewidth=1.4, label=label)


def _utterances(figure: Any, form: Shape, said: Said) -> None:
    axes = figure.add_subplot()
    _steps(axes, form.client, RUST, said("client"))
    _steps(axes, form.counselor, TEAL, said("counselor"))
    axes.set(xlabel=said("shape.utterances"))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend()


def _cosines(found: Figure, said: Said) -> Draw:
    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        colors = (TEAL, RUST, AMBER, RED)
        for place, curve in enumerate(found.curves):
            _steps(axes, curve.values, colors[place % len(colors)], said(curve.name))
        if found.line is not None:
            label = said("figure.line").replace("{n}", f"{found.line:.4f}")
            axes.axvline(found.line, color=RED, linewidth=1.2, linestyle="--", label=label)
        axes.set(xlabel=said("cosine"))
        axes.set_xlim(*_held([curve.values for curve in found.curves]))
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.legend()

    return draw


def _held(values: Sequence[Distribution]) -> tuple[float, float]:
    """Where the bins that hold anything begin and end."""
    edges = [
        (one.histogram.edges[place], one.histogram.edges[place + 1])
        for one in values
        for place, count in enumerate(one.histogram.counts)
        if count
    ]
    return (min(low for low, _ in edges), max(high for _, high in edges)) if edges else (0.0, 1.0)


def _rates(found: Timeline, one: EndpointTime, said: Said) -> Draw:
    minutes = [place * found.width / 60 for place in range(found.bins + 1)]

    def draw(figure: Any) -> None:
        from matplotlib.ticker import EngFormatter

        thousands = EngFormatter(sep="")
        paces = [("requests", one.requests), ("tokens", one.tokens)]
        paces += [(what, pace) for what, pace in (("input", one.input), ("output", one.output)) if _limited(one, what)]
        figure.set_size_inches(WIDE, 2 * TALL * (len(paces) + len(one.days) + 1) / 3)
        above = figure.subplots(len(paces) + len(one.days) + 1, 1, sharex=True)
        for axes, (what, pace) in zip(above, paces, strict=False):
            axes.stairs(pace.mean, minutes, color=TEAL, alpha=0.25, fill=True, label=said("rates.mean"))
            axes.stairs(pace.peak, minutes, color=TEAL, linewidth=1.3, baseline=None, label=said("rates.peak"))
            _limit(axes, found, one, what, A_MINUTE[what], said)
            axes.yaxis.set_major_formatter(thousands)
            axes.set_title(said(f"rates.{what}"))
        for axes, (what, held) in zip(above[len(paces) :], one.days.items(), strict=False):
            axes.stairs(held, minutes, color=TEAL, alpha=0.4, fill=True, label=said("rates.most"))
            _limit(axes, found, one, what, A_DAY[what], said)
            axes.yaxis.set_major_formatter(thousands)
            axes.set_title(said(f"rates.{what}"))
        above[-1].stairs(one.in_flight, minutes, color=TEAL, alpha=0.4, fill=True, label=said("rates.most"))
        _limit(above[-1], found, one, "in-flight", "in-flight", said)
        above[-1].set_title(said("rates.in-flight"))
        above[-1].set_xlabel("min" if said("table") == "Table" else "分钟")
        for axes in above:
            axes.set_ylim(bottom=0)
            axes.legend(ncols=4, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)

    return draw


A_MINUTE = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "input": "input tokens a minute",
    "output": "output tokens a minute",
}
"""As changes of limits call them."""


def _limited(one: EndpointTime, what: str) -> bool:
    return what in one.limits or any(step.what == A_MINUTE[what] for step in one.steps)


def _limit(axes: "Axes", found: Timeline, one: EndpointTime, what: str, changed: str, said: Said) -> None:
    changes = [step for step in one.steps if step.what == changed]
    _named(axes, found, one.limits.get(what), [step for step in changes if step.reason == NAMED], said)
    steps = [(step.at / 60, step.after) for step in changes if step.after is not None and step.reason != NAMED]
    if steps:
        times, levels = zip(*steps, (found.seconds / 60, steps[-1][1]), strict=True)
        axes.step(times, levels, where="post", color=RUST, linewidth=1.2, marker=".", label=said("rates.found"))


def _named(axes: "Axes", found: Timeline, limit: float | None, anew: Sequence[Step], said: Said) -> None:
    """The limit that the user named, of each process its own; a gap where there was none."""
    style: dict[str, Any] = {"color": RED, "linewidth": 1.2, "linestyle": "--", "label": said("rates.limit")}
    if anew:
        told = [anew[0].before, *(step.after for step in anew), anew[-1].after]
        times = [0.0, *(step.at / 60 for step in anew), found.seconds / 60]
        axes.step(times, [math.nan if level is None else level for level in told], where="post", **style)
    elif limit is not None:
        axes.axhline(limit, **style)


def _topics(topics: Topics, tongue: Tongue, said: Said) -> Draw:
    shares = sorted(topics.shares, key=lambda one: -one.dialogues)[:TOPICS][::-1]

    def draw(figure: Any) -> None:
        figure.set_size_inches(WIDE, 0.2 * len(shares) + 0.8)
        axes = figure.add_subplot()
        names = [one.zh if tongue == "zh" else one.en for one in shares]
        places = range(len(shares))
        axes.barh(places, [one.dialogues for one in shares], color=[RED if one.crisis else TEAL for one in shares])
        axes.set_yticks(places, names, parse_math=False)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", visible=True)
        axes.set(xlabel=said("c.dialogues"), ylim=(-0.7, len(shares) - 0.3))

    return draw


def _drawn(path: Path, draw: Draw) -> list[Path]:
    from matplotlib.figure import Figure as Sheet

    sheet = Sheet(figsize=(WIDE, TALL), layout="constrained")
    draw(sheet)
    written = []
    for ending, options in ENDINGS.items():
        content = BytesIO()
        sheet.savefig(content, format=ending, **options)
        written.append(_write(path.with_name(f"{_safe(path.name)}.{ending}"), content.getvalue()))
    return written


ENDINGS: Mapping[str, Mapping[str, Any]] = {
    "png": {"dpi": DPI, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
}


def _safe(name: str) -> str:
    """An endpoint's name as part of a file's: it may hold colons."""
    return "".join(one if one.isalnum() or one in "._-" else "-" for one in name)


def _write(path: Path, content: bytes) -> Path:
    with whole_file(path, overwrite=True) as file:
        file.write(content)
    return path
