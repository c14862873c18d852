"""smile respond: a model's answers to test cases."""

from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smile_async.cli.flags import AgainFlags, AskFlags, LimitFlags, ObserverFlags, OutputFlags, grouped
from smile_async.cli.following import Outcome, as_typed, follow_run
from smile_async.cli.languages import system_prompt

if TYPE_CHECKING:
    from smile_async.engine.run import RunReport
    from smile_async.tasks import Following


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Dialogue system")(respond)


@grouped
def respond(
    cases: Annotated[Path, typer.Argument(metavar="CASES", help="JSONL of {id, messages, reference}: smile psytest")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="the folder for the answers", show_default=False)],
    *,
    name: Annotated[
        str, typer.Option(help="the system's name in the results; default the model's", show_default=False)
    ] = "",
    system: Annotated[
        str | None,
        typer.Option(
            help="system prompt for cases without one: paper (Figure 12, in the cases' language), paper-zh, paper-en, "
            "or a text; default none",
            show_default=False,
        ),
    ] = None,
    asking: AskFlags,
    limits: LimitFlags,
    again: AgainFlags,
    output: OutputFlags,
    observers: ObserverFlags,
) -> None:
    """A model's answers to test cases, kept in RUN; the same command again goes on.

    smile respond psytest.jsonl answers/mechat --base-url http://localhost:8000/v1 --model mechat --system paper-zh

    RUN/responses.jsonl holds id, response, reference and system: what smile evaluate compares. Temperature and top_p
    0.8, as in the paper, unless others are given.
    """
    from smile_async.chatbot.respond import read_cases
    from smile_async.chatbot.respond import respond as answer_all
    from smile_async.cli.settings import endpoints_from, settings_from, task_options
    from smile_async.corpus.language import letters_of
    from smile_async.tasks import Keeping

    settings = settings_from(output.config)
    at, options, given = endpoints_from(settings, asking), task_options(settings, asking, limits), read_cases(cases)
    prompt = system_prompt(
        system, lambda: letters_of(turn.content for case in given for turn in case.messages).language
    )

    def running(seen: "Following") -> Awaitable["RunReport"]:
        return answer_all(
            given,
            run,
            provider=at,
            name=name,
            system=prompt,
            options=options,
            keeping=Keeping(command=as_typed(), source=str(cases.absolute()), expected=len(given)),
            following=seen,
        )

    follow_run(
        running, f"smile respond {cases} -> {run}", run, output, observers, again=again.retry,
        outcome=lambda: _outcome(run),
    )  # fmt: skip


def _outcome(run: Path) -> Outcome:
    """How many answers are not whole: they count as accepted."""
    from smile_async.chatbot.respond import TRUNCATED
    from smile_async.run_folder import read_status

    cut = read_status(run).remarks.flags.get(TRUNCATED, 0)
    lines = (
        [f"cut off    {cut:,} of the accepted, at their length limit: more --max-tokens in a new RUN"] if cut else []
    )
    return lines, {"truncated": cut}
