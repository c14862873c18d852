"""The main job on sample input, with the embedded model: no key, no network, real (if modest) dialogues.

    python examples/demo.py RUN

Runs `smile generate` on the project's own sample and shows one dialogue of what came out.
"""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from smile_async import read_status, records

SAMPLE = Path(__file__).parent / "data" / "sample-psyqa.json"
ROWS = 6  # of the sample: a minute on two idle cores, two where something else keeps one busy


def main(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)  # the demo's own run: it starts over each time
    command = [sys.executable, "-m", "smile_async.cli", "generate", str(SAMPLE), str(folder)]
    print(f"$ smile generate {SAMPLE} {folder} --provider local --limit {ROWS}\n", flush=True)
    ended = subprocess.run([*command, "--provider", "local", "--limit", str(ROWS)], check=False).returncode
    if ended not in (0, 3):  # 3: some rows were set aside, which a small model earns
        sys.exit(ended)
    show_one(folder)


def show_one(folder: Path) -> None:
    """The first accepted dialogue, as a conversation."""
    accepted = read_status(folder).counts.accepted
    first = next(records(folder), None)
    if first is None or first.pair is None:
        print("\nThe model wrote no dialogue that keeps the rules this time: run it again.")
        sys.exit(3)
    print(f"\nOne of the {accepted} dialogues, made of the question {first.pair.question!r}:\n")
    labels = {"client": "求助者", "counselor": "支持者"}
    for said in first.dialogue.utterances:
        print(textwrap.indent(f"{labels.get(said.role, said.role)}：{said.content}", "  "))
    print(
        f"""
The corpus: {folder / "corpus.jsonl"}
What this is: a 270-million-parameter base model on this machine's processor. It keeps the form, its advice is poor and
not for anybody's use. With a key or a server of yours the same command makes a corpus:

  smile generate SOURCE RUN --model gpt-4o-mini                    (OPENAI_API_KEY in the environment)
  smile generate SOURCE RUN --base-url http://HOST:8000/v1 --model NAME   (vLLM, Ollama, ...)"""
    )


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-run"))
