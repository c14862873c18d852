"""A whole run from Python, against a simulated endpoint with limits, faults and rule-breaking answers.

    python examples/full_run.py [RUN]

Stop it with Ctrl-C and start it again: it goes on where it was.
"""

import asyncio
import sys
from pathlib import Path

from smile_async import Endpoint, Intake, Limits, Options, export_corpus, generate_corpus
from smile_async.simulate import Latency, LimitSettings, SimulatorServer, SimulatorSettings

SAMPLE = Path(__file__).parent / "data" / "sample-psyqa.json"

WORLD = SimulatorSettings(
    seed=3,
    latency=Latency(base=0.1),
    limits=LimitSettings(requests=6_000, tokens=3_000_000),
    faults={"server-error": 0.05, "reset": 0.02, "truncated": 0.03},
    breaches={"bad-start": 0.05, "too-few-turns": 0.05},
)


async def main(folder: Path) -> None:
    async with SimulatorServer(WORLD) as server:
        report = await generate_corpus(
            SAMPLE,
            folder,
            provider=Endpoint(base_url=server.base_url, model="simulated"),
            options=Options(
                recipe="smile",
                limits=Limits(requests_per_minute=6_000, tokens_per_minute=3_000_000, concurrency=16),
                intake=Intake(clean=True),
            ),
        )
    counts = report.check().counts
    print(f"{counts.total} rows: {counts.accepted} accepted, {counts.set_aside} set aside {dict(counts.reasons)}")
    print(f"{counts.attempts} attempts, {counts.replies} of them brought a reply")
    exported = export_corpus(folder, folder / "sharegpt.jsonl", "sharegpt", overwrite=True)
    print(f"{exported.written} dialogues in {folder / 'sharegpt.jsonl'}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/full-run")))
