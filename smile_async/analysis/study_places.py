"""Where the parts of a study lie below its folder."""

from pathlib import Path

METHODS = ("standard", "standardT", "smile")
PAIRS = "psyqa"  # PsyQA*: the QAs that were drawn, and the name of that set


def pairs_file(out: Path) -> Path:
    """The QAs of PsyQA*, cleaned: a source like any other."""
    return out / f"{PAIRS}.jsonl"


def dialogues_of(out: Path, method: str) -> Path:
    return out / method


def vectors_of(out: Path, name: str) -> Path:
    """`name`: a method, or `PAIRS`."""
    return out / "vectors" / name


def topics_of(out: Path, method: str) -> Path:
    return out / "topics" / method
