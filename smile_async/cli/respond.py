"""smile respond: a model's answers to test cases."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from smile_async.cli.flags import AgainFlags, AskFlags, LimitFlags, ObserverFlags, OutputFlags, grouped
from smile_async.cli.following import Outcome, follow_run
from smile_async.cli.languages import system_prompt
from smile_async.cli.task_call import task_call


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
    from smile_async.corpus.language import letters_of

    call, given = task_call(cases, asking, limits, output), read_cases(cases)
    call["keeping"] = replace(call["keeping"], expected=len(given))
    prompt = system_prompt(
        system, lambda: letters_of(turn.content for case in given for turn in case.messages).language
    )
    follow_run(
        lambda seen: answer_all(given, run, **call, name=name, system=prompt, following=seen),
        f"smile respond {cases} -> {run}",
        run,
        output,
        observers,
        again=again.retry,
        outcome=lambda: _outcome(run),
    )


def _outcome(run: Path) -> Outcome:
    """How many answers are not whole: they count as accepted."""
    from smile_async.chatbot.respond import TRUNCATED
    from smile_async.run_folder import read_status

    cut = read_status(run).remarks.flags.get(TRUNCATED, 0)
    lines = (
        [f"cut off    {cut:,} of the accepted, at their length limit: more --max-tokens in a new RUN"] if cut else []
    )
    return lines, {"truncated": cut}
