"""Figure 6: win and loss rates of each pair of systems, as PNG and SVG."""

from io import BytesIO
from pathlib import Path
from typing import Any

from smile_async.chatbot.tally import PairTally, Tally
from smile_async.errors import MissingExtraError, UsageError
from smile_async.filing import whole_file

SUFFIXES = (".png", ".svg")
COLOURS = {"wins": "#2a7566", "ties": "#c9cfcb", "undecided": "#e4e7e5", "losses": "#c9794a"}
FAMILIES = ("Noto Sans CJK SC", "Noto Sans SC", "WenQuanYi Micro Hei", "PingFang SC", "Microsoft YaHei", "SimHei")
NARROW = 0.04  # of the axis: a part too small for its number
DPI = 200


def draw_figure(counted: Tally, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write `path` with each of `SUFFIXES` in place of its own; returns what was written."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("Figure 6 as a picture", "metrics") from error
    pairs = [pair for pair in counted.pairs if pair.cases]
    if not pairs:
        raise UsageError("No comparison has all its votes: there is nothing to draw.", hint="Finish some cases first.")
    look: Any = {"font.family": [*_known(FAMILIES), "DejaVu Sans"], "svg.hashsalt": counted.drawn, "font.size": 10}
    written = []
    with rc_context(look):
        figure = Figure(figsize=(7.2, 0.75 * len(pairs) + 1.15), layout="constrained")
        _bars(figure.subplots(), pairs, len(counted.raters))
        for suffix in SUFFIXES:
            picture = BytesIO()
            figure.savefig(picture, format=suffix[1:], dpi=DPI, metadata={} if suffix == ".png" else {"Date": None})
            written.append(path.with_suffix(suffix))
            with whole_file(written[-1], overwrite=overwrite) as file:
                file.write(picture.getvalue())
    return written


def _known(families: tuple[str, ...]) -> list[str]:
    """Those that this machine has: others would be looked for, and missed, at every text."""
    from matplotlib import font_manager

    here = {font.name for font in font_manager.fontManager.ttflist}
    return [family for family in families if family in here]


def _bars(axes: Any, pairs: list[PairTally], raters: int) -> None:
    """A row a pair: what the first won from the left, what it lost to the right."""
    for row, pair in enumerate(pairs):
        start = 0.0
        for name, colour in COLOURS.items():
            share = pair.rate(getattr(pair, name)) or 0.0
            axes.barh(row, share, left=start, color=colour, height=0.62, label=name if row == 0 else None)
            if share >= NARROW:
                ink = "white" if name in {"wins", "losses"} else "#33403c"
                axes.text(start + share / 2, row, f"{share:.0%}", ha="center", va="center", color=ink)
            start += share
    axes.set_yticks(range(len(pairs)), [f"{_plain(pair.first)}\nvs. {_plain(pair.second)}" for pair in pairs])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for row, pair in enumerate(pairs):
        axes.text(1.015, row, _beside(pair), va="center", fontsize=9, transform=axes.get_yaxis_transform())
    shown = [name for name in COLOURS if any(getattr(pair, name) for pair in pairs)]
    handles = [axes.containers[list(COLOURS).index(name)] for name in shown]
    said = {"wins": "win", "losses": "loss", "ties": "tie", "undecided": "no majority"}
    legend = [said[name] for name in shown]
    axes.legend(handles, legend, ncols=len(legend), loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    axes.set_xlabel(f"share of cases, by majority of {raters} raters")


def _beside(pair: PairTally) -> str:
    kappa = pair.agreement.kappa
    return f"n = {pair.cases}" + ("" if kappa is None else f"\nκ = {kappa:.2f}")


def _plain(name: str) -> str:
    """A name as it is: `$` would begin a formula."""
    return name.replace("$", r"\$")
