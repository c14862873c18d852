"""What the commands of tasks in a run folder have in common: embed, topics annotate, respond."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from smile_async.cli.flags import AskFlags, LimitFlags, OutputFlags
from smile_async.cli.following import as_typed

if TYPE_CHECKING:
    from smile_async.options import Options
    from smile_async.settings import Endpoint
    from smile_async.tasks import Keeping


class TaskCall(TypedDict):
    """The arguments that every task's function takes."""

    provider: "list[Endpoint]"
    options: "Options"
    keeping: "Keeping"


def task_call(
    source: Path,
    asking: AskFlags,
    limits: LimitFlags,
    output: OutputFlags,
    *,
    add: bool = False,
    unnamed: "Endpoint | None" = None,
) -> TaskCall:
    """Whom to ask and how, by flags and settings file; the command is noted, to be called again. `add`: `source` may be
    another than the run was made of. `unnamed` is asked where neither a model nor an address is named."""
    from smile_async.cli.settings import endpoints_from, settings_from, task_options
    from smile_async.tasks import Keeping

    settings = settings_from(output.config)
    at = endpoints_from(settings, asking, unnamed)
    options = replace(task_options(settings, asking, limits), add_source=add)
    return TaskCall(provider=at, options=options, keeping=Keeping(command=as_typed(), source=str(source.absolute())))
