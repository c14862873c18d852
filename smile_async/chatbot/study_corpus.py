"""The made-up dialogues that a study uses where no corpus is named."""

from importlib.resources import files
from pathlib import Path

import smile_async
from smile_async.errors import UsageError

NAME = "made-up-dialogues.jsonl"


def made_up_corpus() -> Path:
    """20 short Chinese dialogues written for this repository, of no real person. In a wheel they lie in the package,
    in a checkout in `examples/data`. Raises `UsageError` where neither is there."""
    packed = Path(str(files("smile_async.chatbot"))) / "data" / NAME
    checkout = Path(smile_async.__file__).parents[1] / "examples" / "data" / NAME
    for path in (packed, checkout):
        if path.is_file():
            return path
    raise UsageError(f"{NAME} is not installed.", hint="Name a corpus: --corpus PATH.")
