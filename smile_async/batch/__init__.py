"""Batches as another way through the same run: a file goes to OpenAI's Batch API, or to whoever works offline.

Names are loaded when they are first used, as the package's own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smile_async.batch.desk import BatchReport
    from smile_async.batch.fetching import cancel_batches, collect_batches, look, wait_for_batches
    from smile_async.batch.offline import export_batch, import_results
    from smile_async.batch.sending import BatchSize, submit_batches

_HOMES = {
    "BatchReport": "desk",
    "BatchSize": "sending",
    "cancel_batches": "fetching",
    "collect_batches": "fetching",
    "export_batch": "offline",
    "import_results": "offline",
    "look": "fetching",
    "submit_batches": "sending",
    "wait_for_batches": "fetching",
}

__all__ = [
    "BatchReport",
    "BatchSize",
    "cancel_batches",
    "collect_batches",
    "export_batch",
    "import_results",
    "look",
    "submit_batches",
    "wait_for_batches",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
