"""A run that is killed a hundred times: SIGKILL at random moments, then the books are checked, and a table is printed.

    python benchmarks/crashes.py                                 # 55,165 rows, 100 kills
    python benchmarks/crashes.py --rows 5000 --kills 20 --seed 7

The moments are drawn from the seed: most in answers given, so that they are spread over the run on any machine, the
others in seconds after a start, so that they meet a process that opens its ledger, reads its source or sends its first
request; the last meet the last commits and the writing of the corpus. The server is another process and keeps books of
its own; some of its answers break a rule, so that rows are set aside too. Ends with 1 when something does not hold.
"""

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from corpus import write_psyqa
from measuring import Server, simulator

LOOK = 0.02  # seconds between two looks at the server
EARLY = 0.15  # of the kills meet a process that has just started
LATE = 0.05  # of the kills meet the end of the run
PATIENCE = 600.0  # seconds that one process may take


@dataclass(frozen=True)
class Moment:
    """When to kill: once the server has given so many answers and `seconds` more have passed since then, or since the
    start where `answers` is 0."""

    answers: int
    seconds: float


@dataclass
class Kill:
    """What one kill cost. `lost`: answers that the server gave and the ledger does not hold."""

    alive: float
    answers: int
    lost: int
    in_flight: int


@dataclass
class Book:
    """The run as the ledger holds it at the end."""

    integrity: str
    rows: int
    accepted: int
    set_aside: int
    results: int
    attempts: int
    unknown: int
    flights: int
    replies: int
    prompt_tokens: int
    completion_tokens: int
    least_tokens: int
    most_tokens: int
    doubly_accepted: int
    ids: list[str] = field(repr=False)


def moments(rows: int, kills: int, chance: random.Random) -> list[Moment]:
    early, late = round(kills * EARLY), round(kills * LATE)
    spread = sorted(chance.randrange(int(rows * 0.97)) for _ in range(kills - early - late))
    found = [Moment(answers, chance.uniform(0, 0.05)) for answers in spread]
    for _ in range(early):
        found.insert(chance.randrange(len(found) + 1), Moment(0, chance.uniform(0.0, 1.5)))
    return found + [Moment(rows, chance.uniform(0, 0.1)) for _ in range(late)]


def answered(server: Server) -> int:
    return int(server.stats()["served"]["completions"])


def settled(server: Server) -> dict[str, Any]:
    """The server's counts once it has seen that the client is gone."""
    while (counts := server.stats())["pending"]:
        time.sleep(LOOK)
    return counts


def kept(run: Path) -> int:
    """Replies in the ledger."""
    path = run / "ledger.sqlite3"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM attempts WHERE paid").fetchone()[0])


def kill_at(moment: Moment, command: list[str], server: Server, log: Path) -> tuple[float, bool]:
    """Start the command and kill it then. Returns for how long it lived and whether it was killed."""
    with log.open("ab") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        began = time.monotonic()
        while moment.answers and answered(server) < moment.answers and process.poll() is None:
            time.sleep(LOOK)
            assert time.monotonic() - began < PATIENCE, "the run does not go on"
        time.sleep(moment.seconds)
        process.send_signal(signal.SIGKILL)
        code = process.wait()
    assert code in {-signal.SIGKILL, 0, 3}, f"it ended by itself: {code}, see {log}"
    return time.monotonic() - began, code == -signal.SIGKILL


def read_book(run: Path) -> Book:
    with closing(sqlite3.connect(f"{(run / 'ledger.sqlite3').as_uri()}?mode=ro", uri=True)) as connection:

        def one(statement: str) -> Any:
            return connection.execute(statement).fetchone()[0]

        return Book(
            integrity=one("PRAGMA integrity_check"),
            rows=one("SELECT count(*) FROM rows"),
            accepted=one("SELECT count(*) FROM outcomes WHERE state = 'accepted'"),
            set_aside=one("SELECT count(*) FROM outcomes WHERE state = 'set-aside'"),
            results=one("SELECT count(*) FROM results"),
            attempts=one("SELECT count(*) FROM attempts"),
            unknown=one("SELECT count(*) FROM attempts WHERE verdict = 'unknown'"),
            flights=one("SELECT count(*) FROM flights"),
            replies=one("SELECT count(*) FROM attempts WHERE paid"),
            prompt_tokens=one("SELECT total(prompt_tokens) FROM attempts"),
            completion_tokens=one("SELECT total(completion_tokens) FROM attempts"),
            least_tokens=one("SELECT min(prompt_tokens + completion_tokens) FROM attempts WHERE paid"),
            most_tokens=one("SELECT max(prompt_tokens + completion_tokens) FROM attempts WHERE paid"),
            doubly_accepted=one(
                "SELECT count(*) FROM (SELECT 1 FROM attempts WHERE verdict = 'accepted' GROUP BY ordinal"
                " HAVING count(*) > 1)"
            ),
            ids=[
                row_id
                for (row_id,) in connection.execute(
                    "SELECT row_id FROM rows JOIN results USING (ordinal) ORDER BY ordinal"
                )
            ],
        )


def ids_of(path: Path) -> list[str]:
    with path.open("rb") as file:
        return [json.loads(line)["id"] for line in file]


Claim = tuple[str, str, bool]


def claims(
    book: Book,
    server: dict[str, Any],
    told: dict[str, Any],
    run: Path,
    kills: list[Kill],
    arguments: argparse.Namespace,
) -> Iterator[Claim]:
    """Claim, figures, whether it holds."""
    rows, lost = arguments.rows, server["served"]["completions"] - book.replies
    tokens = server["served"]["prompt_tokens"] + server["served"]["completion_tokens"]
    missing = tokens - book.prompt_tokens - book.completion_tokens
    corpus, aside = ids_of(run / "corpus.jsonl"), ids_of(run / "set-aside.jsonl")
    worst = max((kill.lost for kill in kills), default=0)
    yield "the database is sound", book.integrity, book.integrity == "ok"
    yield (
        "accepted + set aside = input",
        f"{book.accepted:,} + {book.set_aside:,} = {rows:,}",
        (book.accepted + book.set_aside == rows == book.rows),
    )
    yield "no row was accepted twice", f"{book.doubly_accepted}", book.doubly_accepted == 0
    yield "the server saw every row", f"{server['distinct_prompts']:,}", server["distinct_prompts"] == rows
    yield (
        "corpus.jsonl is the ledger's results, in order",
        f"{len(corpus):,} lines",
        (corpus == book.ids and len(set(corpus)) == len(corpus) == book.accepted == book.results),
    )
    yield (
        "set-aside.jsonl holds the others",
        f"{len(aside):,} lines",
        (len(set(aside)) == len(aside) == book.set_aside and not set(aside) & set(corpus)),
    )
    yield (
        "a kill costs at most what was in flight",
        f"at most {worst} answers of {arguments.in_flight}",
        (worst <= arguments.in_flight),
    )
    yield (
        "asked again = answers lost to the kills",
        f"{lost:,} of {len(kills)} kills",
        (lost == sum(kill.lost for kill in kills) == server["served"]["completions"] - rows),
    )
    yield (
        "the server's tokens are the ledger's and the lost answers'",
        f"{tokens:,.0f} - {missing:,.0f}",
        (lost * book.least_tokens <= missing <= lost * book.most_tokens),
    )
    yield (
        "every request is an attempt in the ledger",
        f"{server['requests']:,} requests, {book.attempts:,} attempts",
        (book.attempts >= server["requests"]),
    )
    yield (
        "what was lost is counted as perhaps billed",
        f"{book.unknown:,} attempts for {lost:,} answers",
        (book.unknown >= lost and told["perhaps_billed"] >= lost),
    )
    yield "nothing is left under way", f"{book.flights}", book.flights == 0


def crash(arguments: argparse.Namespace, folder: Path, server: Server, tell: Callable[[str], None]) -> list[Claim]:
    source, run, log = folder / "psyqa.json", folder / "run", folder / "log.txt"
    write_psyqa(source, arguments.rows, characters=200, seed=arguments.seed)
    command = [
        sys.executable, "-m", "smile_async.cli", "generate", str(source), str(run),
        "--base-url", server.base_url, "--model", "simulated",
        "--concurrency", str(arguments.in_flight), "--max-attempts", "1", "--json",
    ]  # fmt: skip
    kills: list[Kill] = []
    lost = ended = 0
    for planned in moments(arguments.rows, arguments.kills, random.Random(arguments.seed)):
        moment = replace(planned, answers=planned.answers and planned.answers + lost)  # those count for nothing
        alive, was_killed = kill_at(moment, command, server, log)
        counts = settled(server)
        served = counts["served"]["completions"]
        before, lost = lost, served - kept(run)
        kills.append(Kill(alive, served, lost - before, counts["max_in_flight"]))
        ended += not was_killed
        if len(kills) % 10 == 0:
            tell(f"{len(kills)} kills, {served:,} answers, {lost} of them lost")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 3}, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    if ended:
        tell(f"{ended} of the processes had ended before their kill")
    return list(claims(read_book(run), settled(server), told, run, kills, arguments))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=55_165)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds")
    arguments = parser.parse_args()
    began = time.monotonic()
    flags = ["--latency", f"base={arguments.latency}", "--breach", "bad-start=0.01", "--seed", str(arguments.seed)]
    with tempfile.TemporaryDirectory() as folder, simulator(*flags) as server:
        found = crash(arguments, Path(folder), server, lambda words: print(words, file=sys.stderr, flush=True))
    print(f"{arguments.rows:,} rows, {arguments.kills} kills, seed {arguments.seed}: {time.monotonic() - began:.0f} s")
    for claim, figures, holds in found:
        print(f"  {'holds' if holds else 'BROKEN':<7} {claim}: {figures}")
    return 0 if all(holds for _, _, holds in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
