"""Turn single-turn QA corpora into validated multi-turn dialogue corpora, at the limit of the quota.

    run = await generate_corpus("psyqa.json", "runs/first", provider=Endpoint(model="gpt-4o-mini"))

Names are loaded when they are first used: importing the package touches no network, disk or environment.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smile_async.corpora import Corpus, open_corpus
    from smile_async.corpus.statistics import corpus_statistics
    from smile_async.dialogue.model import Dialogue, QAPair, Utterance
    from smile_async.engine.job import Failure, FailureKind, Message, Reply, Request, Usage
    from smile_async.engine.run import RunReport, run
    from smile_async.engine.switch import StopSwitch
    from smile_async.engine.task import Accepted, Provider, Rejected, Task
    from smile_async.errors import SmileError
    from smile_async.options import Options
    from smile_async.pipeline import generate_corpus, resume_corpus, revalidate_corpus
    from smile_async.planning import plan_corpus
    from smile_async.prompt.recipe import Recipe, load_recipe
    from smile_async.run_folder import RunStatus, export_corpus, read_status, records
    from smile_async.settings import Endpoint, Intake, Limits, Prices, RetryPolicy, Sampling, Timeouts
    from smile_async.tasks import Following, Keeping, run_task

_HOMES = {
    "smile_async.corpora": ("Corpus", "open_corpus"),
    "smile_async.corpus.statistics": ("corpus_statistics",),
    "smile_async.dialogue.model": ("Dialogue", "QAPair", "Utterance"),
    "smile_async.engine.job": ("Failure", "FailureKind", "Message", "Reply", "Request", "Usage"),
    "smile_async.engine.run": ("RunReport", "run"),
    "smile_async.engine.switch": ("StopSwitch",),
    "smile_async.engine.task": ("Accepted", "Provider", "Rejected", "Task"),
    "smile_async.errors": ("SmileError",),
    "smile_async.options": ("Options",),
    "smile_async.pipeline": ("generate_corpus", "resume_corpus", "revalidate_corpus"),
    "smile_async.planning": ("plan_corpus",),
    "smile_async.prompt.recipe": ("Recipe", "load_recipe"),
    "smile_async.run_folder": ("RunStatus", "export_corpus", "read_status", "records"),
    "smile_async.settings": ("Endpoint", "Intake", "Limits", "Prices", "RetryPolicy", "Sampling", "Timeouts"),
    "smile_async.tasks": ("Following", "Keeping", "run_task"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Accepted",
    "Corpus",
    "Dialogue",
    "Endpoint",
    "Failure",
    "FailureKind",
    "Following",
    "Intake",
    "Keeping",
    "Limits",
    "Message",
    "Options",
    "Prices",
    "Provider",
    "QAPair",
    "Recipe",
    "Rejected",
    "Reply",
    "Request",
    "RetryPolicy",
    "RunReport",
    "RunStatus",
    "Sampling",
    "SmileError",
    "StopSwitch",
    "Task",
    "Timeouts",
    "Usage",
    "Utterance",
    "corpus_statistics",
    "export_corpus",
    "generate_corpus",
    "load_recipe",
    "open_corpus",
    "plan_corpus",
    "read_status",
    "records",
    "resume_corpus",
    "revalidate_corpus",
    "run",
    "run_task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
