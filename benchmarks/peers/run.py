"""The same work by other systems, each in an environment of its own, beside this project and the floor.

    python benchmarks/peers/run.py                          # all peers, all comparisons: about half an hour
    python benchmarks/peers/run.py smile curator --only speed --rows 10000 --rounds 3
    python benchmarks/peers/run.py --only limits kills

speed   N chat requests with distinct Chinese prompts of about 600 characters (answers of about 900), 200 ms server,
        512 in flight where a peer lets one set it. Slow peers are given fewer rows. Rounds in turn over all peers.
limits  600 rows against a strict server with token buckets of 600 requests and 300,000 tokens a minute, full at the
        start; a peer is told these limits where it has a setting for them.
kills   SIGKILL half way of 2,000 rows, 64 in flight; then the same command again.

All of it is counted by the simulated server (another process, another core) and by the system: CPU is user + system of
the peer's processes from start to end, imports included; rows a second from the first request to the end; memory the
peak of all its processes. Environments are made once, under --cache. Nothing but the loopback is reachable for a peer.
"""

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from environments import PEERS, Peer, default_cache, python_of
from measuring import Server, simulator, spread, today
from work import Run, Work, job_for, results, started, write_work

REQUESTS, TOKENS = 600, 300_000  # a minute
BUCKETS = (
    "--limit", f"requests={REQUESTS}", "--limit", f"tokens={TOKENS}", "--limit", "kind=bucket",
)  # fmt: skip
LIMITED_ROWS, KILLED_ROWS, FEW_IN_FLIGHT = 600, 2_000, 64
Pythons = dict[str, Path]


@dataclass(frozen=True)
class Speed:
    rate: float
    cpu_ms: float
    peak_mb: float
    lost: int
    more: int
    """Requests beyond one a row."""


def said(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def troubled(peer: Peer, run: Run, seconds: float) -> str:
    """Why a run did not end well; empty where it did."""
    if run.code == 0:
        return ""
    why = f"did not end in {seconds:.0f} s" if run.code is None else f"exit {run.code}"
    said(f"{peer.name}: {why}\n{run.log}")
    return why


def one_speed(peer: Peer, python: Path, work: Work, server: Server, arguments: argparse.Namespace) -> Speed | None:
    server.reset()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = job_for(peer, work, folder, server, arguments.in_flight)
        with started(peer, python, job, folder) as process:
            run = process.wait(arguments.timeout)
        if troubled(peer, run, arguments.timeout):
            return None
        counted = server.stats()
        asking = run.began + run.wall_s - counted["first"]
        lost = work.rows - len(set(results(folder)))
    found = Speed(work.rows / asking, run.cpu_s / work.rows * 1000, run.peak_mb, lost, counted["requests"] - work.rows)
    said(f"{peer.name}: {found.rate:.0f} rows/s, {found.cpu_ms:.2f} ms, {found.peak_mb:.0f} MB, lost {lost}")
    return found


def speed(peers: list[Peer], pythons: Pythons, folder: Path, arguments: argparse.Namespace) -> None:
    found: dict[str, list[Speed]] = defaultdict(list)
    works = {peer.name: write_work(folder, max(1, int(arguments.rows * peer.share))) for peer in peers}
    with simulator("--latency", f"base={arguments.latency}") as server:
        for _ in range(arguments.rounds):
            for peer in peers:
                if one := one_speed(peer, pythons[peer.name], works[peer.name], server, arguments):
                    found[peer.name].append(one)
    floor = statistics.median(one.cpu_ms for one in found["floor"]) if found["floor"] else None
    print(f"\n### Speed: {arguments.latency * 1000:.0f} ms server, {arguments.in_flight} in flight, "
          f"median (lowest-highest) of {arguments.rounds}\n")  # fmt: skip
    print("| system | rows | rows/s | CPU ms a row | times the floor | peak MB | rows lost | requests too many |")
    print("|---|---|---|---|---|---|---|---|")
    for peer in peers:
        ones = found[peer.name]
        if not ones:
            print(f"| {peer.name} | {works[peer.name].rows:,} | failed | | | | | |")
            continue
        cost = statistics.median(one.cpu_ms for one in ones)
        print(f"| {peer.name} | {works[peer.name].rows:,} | {spread([one.rate for one in ones], 0)} "
              f"| {spread([one.cpu_ms for one in ones])} | {cost / floor if floor else float('nan'):.1f} "
              f"| {max(one.peak_mb for one in ones):,.0f} | {max(one.lost for one in ones)} "
              f"| {max(one.more for one in ones)} |")  # fmt: skip


def limits(peers: list[Peer], pythons: Pythons, folder: Path, arguments: argparse.Namespace) -> None:
    work = write_work(folder, LIMITED_ROWS)
    print(f"\n### Limits: buckets of {REQUESTS} requests and {TOKENS:,} tokens a minute, {work.rows} rows, 1 s server, "
          f"{FEW_IN_FLIGHT} in flight\n")  # fmt: skip
    print("| system | seconds | ideal | share of what was allowed | refused (429) | rows lost |")
    print("|---|---|---|---|---|---|")
    for peer in peers:
        said(f"limits: {peer.name}")
        with simulator("--latency", "base=1", *BUCKETS) as server, tempfile.TemporaryDirectory() as name:
            told = {"requests_per_minute": REQUESTS, "tokens_per_minute": TOKENS}
            job = job_for(peer, work, Path(name), server, FEW_IN_FLIGHT, **told)
            with started(peer, pythons[peer.name], job, Path(name)) as process:
                run = process.wait(arguments.timeout)
            failed = troubled(peer, run, arguments.timeout)
            counted = server.stats()
            lost = work.rows - len(set(results(Path(name))))
        seconds = counted["last"] - counted["first"]
        tokens = sum(minute["tokens"] for minute in counted["per_minute"])
        ideal = max(0, tokens - TOKENS) / TOKENS * 60
        share = tokens / (TOKENS * (1 + seconds / 60))
        print(f"| {peer.name} | {seconds:.0f} | {ideal:.0f} | {share:.2f} | {counted['by_status'].get('429', 0):,} "
              f"| {lost}{f' ({failed})' if failed else ''} |", flush=True)  # fmt: skip


def served(server: Server) -> int:
    answered: int = server.stats()["by_status"].get("200", 0)
    return answered


def killed(peer: Peer, python: Path, work: Work, folder: Path, server: Server, arguments: argparse.Namespace) -> str:
    job = job_for(peer, work, folder, server, FEW_IN_FLIGHT)
    with started(peer, python, job, folder) as process:
        while served(server) < work.rows / 2 and process.running:
            time.sleep(0.02)
        answered = served(server)
        process.kill()
        process.wait(10)
    with started(peer, python, job, folder) as process:
        failed = troubled(peer, process.wait(arguments.timeout), arguments.timeout)
    counted = server.stats(per_prompt=True)
    again = sum(max(0, prompt["asked"] - 1) for prompt in counted["per_prompt"].values())
    lines = Counter(results(folder))
    twice = sum(n > 1 for n in lines.values())
    left = f"{len(lines):,} unique" + (f", {twice:,} of them twice" if twice else "")
    ended = f"; second run {failed}" if failed else ""
    return f"| {peer.name} | {answered:,} | {again:,} | {left}{ended} |"


def kills(peers: list[Peer], pythons: Pythons, folder: Path, arguments: argparse.Namespace) -> None:
    work = write_work(folder, KILLED_ROWS)
    print(f"\n### Killed (SIGKILL) half way through {work.rows:,} rows, then run again\n")
    print("| system | answered at the kill | asked again | what is left |")
    print("|---|---|---|---|")
    for peer in peers:
        said(f"kills: {peer.name}")
        with simulator("--latency", "base=0.2") as server, tempfile.TemporaryDirectory() as name:
            print(killed(peer, pythons[peer.name], work, Path(name), server, arguments), flush=True)


def environments(peers: list[Peer], cache: Path) -> Pythons:
    """Those that can be had; the others are said."""
    found: Pythons = {}
    for peer in peers:
        try:
            found[peer.name] = python_of(peer.packages, cache)
        except subprocess.CalledProcessError as error:
            said(f"{peer.name}: left out, its environment cannot be made ({error})")
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [peer.name for peer in PEERS]
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(names)}; default all")
    parser.add_argument("--only", nargs="+", choices=["speed", "limits", "kills"], default=["speed", "limits", "kills"])
    parser.add_argument("--rows", type=int, default=10_000, help="for speed; slow peers get a part of it")
    parser.add_argument("--in-flight", type=int, default=512, help="for speed")
    parser.add_argument("--latency", type=float, default=0.2, help="for speed, in seconds")
    parser.add_argument("--rounds", type=int, default=3, help="for speed: how often each is run, in turn")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds that one run may take")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of the environments")
    parser.add_argument("--clean", action="store_true", help="remove the environments, and do nothing else")
    arguments = parser.parse_args()
    if unknown := set(arguments.peers) - set(names):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return arguments


def main() -> None:
    arguments = parsed()
    if arguments.clean:
        shutil.rmtree(arguments.cache, ignore_errors=True)
        return
    wanted = [peer for peer in PEERS if not arguments.peers or peer.name in arguments.peers]
    pythons = environments(wanted, arguments.cache)
    wanted = [peer for peer in wanted if peer.name in pythons]
    print(f"{today()}, Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        for name, compare in {"speed": speed, "limits": limits, "kills": kills}.items():
            chosen = [peer for peer in wanted if getattr(peer, name)]
            if name in arguments.only and chosen:
                compare(chosen, pythons, Path(folder), arguments)
    print("\n" + "; ".join(sorted({pin for peer in wanted for pin in peer.packages})))


if __name__ == "__main__":
    main()
