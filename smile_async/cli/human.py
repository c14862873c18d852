"""The commands of human evaluation: ballot, vote, tally, and the way through Label Studio."""

import csv
import signal
import sys
import threading
from dataclasses import asdict
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smile_async.cli.flags import grouped
from smile_async.cli.show import print_json
from smile_async.errors import UsageError

if TYPE_CHECKING:
    from smile_async.chatbot.tally import PairTally, Tally

PANEL = "Dialogue system"
WATCH = 1.0  # seconds between two looks at whether the server lives
VOTES, KEY = ".votes.sqlite3", ".key.json"

BallotFile = Annotated[Path, typer.Argument(metavar="BALLOTS", help="what smile ballot wrote", show_default=False)]
VotesFlag = Annotated[Path | None, typer.Option(help="where votes are kept; default NAME.votes.sqlite3")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is there")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON line on stdout")]

LABEL_STUDIO_HELP = """Ballots as a Label Studio project, and its annotations back as votes.

smile label-studio export study.json project

smile label-studio import annotations.json study.json
"""


def register(app: typer.Typer) -> None:
    for command in (ballot, vote, tally):
        app.command(rich_help_panel=PANEL)(command)
    group = typer.Typer(help=LABEL_STUDIO_HELP, no_args_is_help=True)
    group.command(name="export")(label_studio_export)
    group.command(name="import")(label_studio_import)
    app.add_typer(group, name="label-studio", rich_help_panel=PANEL)


@grouped
def ballot(
    cases: Annotated[
        Path, typer.Argument(metavar="CASES", help="JSONL of {id, messages, reference}: as smile psytest writes")
    ],
    responses: Annotated[
        list[str], typer.Argument(metavar="NAME=RESPONSES ...", help="JSONL of {id, response}: as smile respond writes")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="the ballots: what raters may have")],
    key: Annotated[
        Path | None, typer.Option(help="which letter is which system: not for raters; default NAME.key.json")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="the cases' own responses are a system, too, of this name", metavar="NAME")
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", help="cases to draw")] = 100,
    seed: Annotated[int, typer.Option(help="the draw's seed")] = 0,
    ties: Annotated[
        bool, typer.Option("--ties", help="let raters call two responses equal; the paper does not")
    ] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Draw cases and write blinded ballots: several systems' responses, to be compared by people.

    smile ballot cases.jsonl baseline=base.jsonl tuned=tuned.jsonl --reference golden -o study.json
    """
    from smile_async.chatbot.ballots import draw, read_cases, read_responses, references, write_ballots
    from smile_async.chatbot.votes import keep_voted
    from smile_async.cli.evaluate import named_files

    told = read_cases(cases)
    systems: dict[str, dict[str, str]] = {} if reference is None else {reference: references(told)}
    for name, file in named_files(responses).items():
        if name in systems:
            raise typer.BadParameter(f"two systems are called {name!r}", param_hint="--reference")
        systems[name] = read_responses(file)
    drawn = draw(told, systems, count=count, seed=seed, ties=ties)
    key = key or _beside(out, KEY)
    keep_voted(_beside(out, VOTES), drawn.ballots.drawn)
    write_ballots(drawn, out, key, overwrite=overwrite)
    result = {
        "ballots": str(out), "key": str(key), "drawn": drawn.ballots.drawn, "cases": len(drawn.ballots.ballots),
        "systems": list(drawn.key.systems), "missing": drawn.missing, "identical_pairs": drawn.identical, "seed": seed,
    }  # fmt: skip
    print_json(result) if json else sys.stdout.write(_ballot_text(result, count))


def _ballot_text(result: dict[str, Any], wanted: int) -> str:
    lines = [f"{result['ballots']}: {result['cases']:,} cases, {' against '.join(result['systems'])}"]
    if result["cases"] < wanted:
        lines[0] += f" ({wanted:,} were wanted)"
    lines += [f"  {name} did not answer {n:,} cases: not drawn" for name, n in result["missing"].items() if n]
    if result["identical_pairs"]:
        lines.append(f"  {result['identical_pairs']:,} pairs of responses read the same: raters can but guess there")
    lines.append(f"{result['key']}: which letter is which system; keep it from raters until they have voted")
    return "\n".join([*lines, ""])


@grouped
def vote(
    ballots: BallotFile,
    *,
    rater: Annotated[
        list[str] | None, typer.Option(help="a rater's name; repeat it for each. Default: rater-1 to rater-3")
    ] = None,
    port: Annotated[int, typer.Option(help="0: any free port")] = 8765,
    votes: VotesFlag = None,
) -> None:
    """Serve the labelling page on this machine: each rater opens the link that is printed for them.

    smile vote study.json --rater Anna --rater Bo --rater Chen

    Whoever has a link votes in its name. The page listens on 127.0.0.1 alone; a rater elsewhere needs a tunnel, such as
    `ssh -L 8765:127.0.0.1:8765 HOST`. Started again, links and pages that are open go on.
    """
    from smile_async.chatbot.voting.server import VotingServer

    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    names = rater or ["rater-1", "rater-2", "rater-3"]
    with VotingServer(ballots, votes or _beside(ballots, VOTES), names, port) as server:
        for name, link in server.links.items():
            sys.stdout.write(f"{name}\t{link}\n")
        sys.stdout.flush()
        sys.stderr.write("Ctrl-C ends it; votes are kept.\n")
        while not told.wait(WATCH):
            if not server.running:
                raise UsageError("The page's server ended by itself.", hint="Start it again: votes are kept.")


@grouped
def tally(
    votes: Annotated[
        list[Path],
        typer.Argument(metavar="VOTES...", help="what smile vote kept, or the ballots beside it; several are one"),
    ],
    *,
    key: Annotated[Path | None, typer.Option(help="the key; default NAME.key.json beside NAME.votes.sqlite3")] = None,
    rater: Annotated[
        list[str] | None, typer.Option(help="count this one only; repeat it. Default: all who voted")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the intervals and of the test of position bias")] = 0,
    resamples: Annotated[int, typer.Option(help="draws of an interval", min=1)] = 2000,
    figure: Annotated[
        Path | None, typer.Option(help="also write Figure 6, as NAME.png and NAME.svg", metavar="NAME")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="one line a pair")] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Count votes: majorities, win and loss rates, Fleiss' kappa, position bias (Figure 6).

    smile tally study.votes.sqlite3 --figure figure6
    """
    from smile_async.chatbot.ballots import read_key
    from smile_async.chatbot.tally import tally as count
    from smile_async.chatbot.votes import read_votes

    stores = [_votes_of(path) for path in votes]
    casts = [read_votes(path) for path in stores]
    counted = count(read_key(key or _key_of(stores[0])), casts, raters=rater or (), seed=seed, resamples=resamples)
    if figure is not None:
        from smile_async.chatbot.tally_figure import draw_figure

        for path in draw_figure(counted, figure, overwrite=overwrite):
            sys.stderr.write(f"{path}\n")
    if json:
        print_json(_told(counted))
    else:
        sys.stdout.write(_table(counted) if csv else _tally_text(counted))
    if counted.warning and csv:
        sys.stderr.write(f"{counted.warning}\n")


def _votes_of(path: Path) -> Path:
    """The votes on ballots that were named in their place."""
    beside = _beside(path, VOTES)
    return beside if path.suffix == ".json" and beside.is_file() else path


def _key_of(votes: Path) -> Path:
    return votes.with_name(votes.name.removesuffix(VOTES) + KEY)


def _beside(ballots: Path, suffix: str) -> Path:
    return ballots.with_name(ballots.stem + suffix)


def _told(counted: "Tally") -> dict[str, Any]:
    pairs = [asdict(pair) | _rates(pair) for pair in counted.pairs]
    return asdict(counted) | {"pairs": pairs, "warning": counted.warning}


def _rates(pair: "PairTally") -> dict[str, Any]:
    counts = {"win_rate": pair.wins, "loss_rate": pair.losses, "tie_rate": pair.ties, "undecided_rate": pair.undecided}
    return {"cases": pair.cases} | {name: pair.rate(count) for name, count in counts.items()}


def _table(counted: "Tally") -> str:
    rows = []
    for pair in counted.pairs:
        row = asdict(pair) | _rates(pair)
        sure = row.pop("agreement")
        for name, interval in (("win", row.pop("win_interval")), ("loss", row.pop("loss_interval"))):
            row |= {f"{name}_low": (interval or {}).get("low"), f"{name}_high": (interval or {}).get("high")}
        interval = sure["interval"] or {}
        row |= {"kappa": sure["kappa"], "kappa_low": interval.get("low"), "kappa_high": interval.get("high")}
        rows.append(row)
    text = StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def _tally_text(counted: "Tally") -> str:
    names = ", ".join(rater.name for rater in counted.raters)
    lines = [f"{counted.cases:,} cases, {counted.finished:,} finished by all raters ({names})", ""]
    head = ("pair", "cases", "win", "loss", "tie", "no majority", "Fleiss' kappa")
    rows = [head, *(_pair_row(pair) for pair in counted.pairs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((f"  {row[0].ljust(widths[0])}", *cells)))
    lines.append("  (brackets: 95 percent, by bootstrap over cases)")
    lines += [f"  {counted.warning}"] if counted.warning else []
    lines += [f"  {pair.first} vs. {pair.second}: {note}" for pair in counted.pairs if (note := pair.agreement.note)]
    lines += ["", *_rater_lines(counted), "", *_bias_lines(counted), ""]
    return "\n".join(lines)


def _pair_row(pair: "PairTally") -> tuple[str, ...]:
    def share(count: int, interval: Any = None) -> str:
        rate = pair.rate(count)
        told = "-" if rate is None else f"{rate:.1%}"
        return told if interval is None else f"{told} [{interval.low:.1%}, {interval.high:.1%}]"

    sure = pair.agreement
    kappa = "-" if sure.kappa is None else f"{sure.kappa:.3f}"
    if sure.interval is not None:
        kappa += f" [{sure.interval.low:.3f}, {sure.interval.high:.3f}]"
    shares = (share(pair.wins, pair.win_interval), share(pair.losses, pair.loss_interval), share(pair.ties))
    return f"{pair.first} vs. {pair.second}", f"{pair.cases:,}", *shares, share(pair.undecided), kappa


def _rater_lines(counted: "Tally") -> list[str]:
    lines = []
    for rater in counted.raters:
        more = [f"{rater.changed:,} votes changed"] if rater.changed else []
        more += [f"{rater.circular:,} ballots in a circle (A over B over C over A)"] if rater.circular else []
        left = rater.cases - rater.finished
        more = [f"{left:,} unfinished", *more] if left else more
        lines.append(
            f"  {rater.name}: {rater.finished:,} of {rater.cases:,} cases" + "".join(f", {one}" for one in more)
        )
    return lines + [f"  {name}: no vote yet, not waited for" for name in counted.silent]


def _bias_lines(counted: "Tally") -> list[str]:
    bias = counted.bias
    shares = ", ".join(f"{each.letter} {each.won / each.compared:.1%}" for each in bias.positions if each.compared)
    lines = [f"  a position wins: {shares}"] if shares else []
    if bias.p_value is not None:
        votes = bias.earlier + bias.later
        told = f"the earlier of two wins {bias.earlier:,} of {votes:,} votes ({bias.earlier / votes:.1%})"
        lines.append(f"  {told}; p = {bias.p_value:.3f} if places did not matter (cases turned round at random)")
    return lines


@grouped
def label_studio_export(
    ballots: BallotFile,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="gets tasks.json and config.xml", show_default=False)
    ],
    *,
    language: Annotated[str, typer.Option("--lang", help="en or zh")] = "en",
    overwrite: Overwrite = False,
) -> None:
    """Tasks and labelling configuration for a Label Studio project.

    smile label-studio export study.json project --lang zh
    """
    from smile_async.chatbot.ballots import read_ballots
    from smile_async.chatbot.label_studio import CONFIG, TASKS, WORDS, write_project

    chosen = next((each for each in WORDS if each == language), None)
    if chosen is None:
        raise typer.BadParameter(f"{language!r}: one of {', '.join(WORDS)}", param_hint="--lang")
    told = read_ballots(ballots)
    write_project(told, folder, chosen, overwrite=overwrite)
    sys.stdout.write(f"{folder / TASKS}: {len(told.ballots):,} tasks\n{folder / CONFIG}: the labelling configuration\n")


@grouped
def label_studio_import(
    annotations: Annotated[
        Path, typer.Argument(metavar="EXPORT", help="Label Studio's JSON export", show_default=False)
    ],
    ballots: BallotFile,
    *,
    votes: VotesFlag = None,
) -> None:
    """Annotations as votes, beside those of the labelling page; done twice, nothing is added.

    smile label-studio import annotations.json study.json
    """
    from smile_async.chatbot.ballots import read_ballots
    from smile_async.chatbot.label_studio import read_annotations
    from smile_async.chatbot.votes import VoteStore

    told = read_ballots(ballots)
    found = read_annotations(annotations, told)
    path = votes or _beside(ballots, VOTES)
    with VoteStore.open(path, told) as store:
        new = store.bring(found)
    sys.stdout.write(f"{path}: {new:,} votes added, of {len({vote.rater for vote in found}):,} raters\n")
