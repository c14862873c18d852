"""`python -m tests.simulation`: play many seeds, or one with all that happens in it. Nothing printed is dialogue text."""

import argparse
import sys
import time
from dataclasses import fields
from typing import Any

from tests.simulation.campaign import Found, play_many
from tests.simulation.scenario import Scenario
from tests.simulation.story import play

EVERY = 2.0  # seconds between lines of progress
LONGEST = 12  # characters of a row's prompt that are shown


def main() -> int:
    wanted = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    wanted.add_argument("--seeds", type=int, default=1_000, help="how many")
    wanted.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    wanted.add_argument("--jobs", type=int, default=None, help="processes at once (one a core)")
    wanted.add_argument("--replay", type=int, default=None, metavar="SEED", help="one seed, with its events")
    given = wanted.parse_args()
    if given.replay is not None:
        return replay(given.replay)
    return campaign(range(given.first, given.first + given.seeds), given.jobs)


def campaign(seeds: range, jobs: int | None) -> int:
    began = told_at = time.monotonic()
    found, shown = Found(), 0
    for found in play_many(seeds, jobs):
        for seed, (code, message) in list(found.broken.items())[shown:]:
            say(f"seed {seed}: {code}: {message}\n  again: python -m tests.simulation --replay {seed}")
        shown = len(found.broken)
        if (now := time.monotonic()) - told_at >= EVERY:
            told_at = now
            say(
                f"{found.seeds} of {len(seeds)} seeds, {now - began:.0f} s, {shown} broke an invariant", file=sys.stderr
            )
    seconds = time.monotonic() - began
    say(f"{found.seeds} seeds in {seconds:.0f} s ({1000 * seconds / max(found.seeds, 1):.1f} ms each); what happened:")
    say("  " + ", ".join(f"{what} {times}" for what, times in found.happened.most_common()))
    if not found.broken:
        say("No invariant was broken.")
        return 0
    codes = sorted({code for code, _ in found.broken.values()})
    say(f"{len(found.broken)} seeds broke an invariant ({', '.join(codes)}): {', '.join(map(str, found.broken))}")
    return 1


def replay(seed: int) -> int:
    """All that happens in one seed: the server's clock in seconds, the process, what."""
    told = play(seed, traced=True)
    show(told.scenario)
    for at, life, *facts in told.trace:
        say(f"{at:14.6f} {life:3} ", *map(short, facts))
    say(f"{told.broken}: {told.message}" if told.broken else "No invariant was broken.")
    return 1 if told.broken else 0


def show(scenario: Scenario) -> None:
    for field in fields(scenario):
        value = getattr(scenario, field.name)
        if field.name in {"rows", "lives", "sites"}:
            say(f"{field.name}:", *(f"\n  {short(entry)}" for entry in value))
        else:
            say(f"{field.name}: {value}")


def short(fact: Any) -> str:
    """A row is told by its beginning and its length."""
    if isinstance(fact, str) and len(fact) > LONGEST and "字" in fact:
        return f"{fact[:LONGEST].rstrip('字')}+{fact.count('字')}"
    return str(fact)


def say(*words: object, file: Any = None) -> None:
    print(*words, file=file, flush=True)


if __name__ == "__main__":
    sys.exit(main())
