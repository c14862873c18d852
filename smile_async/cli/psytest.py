"""`smile psytest`: a test set from real transcripts."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smile_async.cli.commands import CHATBOT
from smile_async.cli.flags import grouped
from smile_async.cli.languages import language_for, system_prompt
from smile_async.cli.show import print_json

if TYPE_CHECKING:
    from smile_async.chatbot.psytest import TestSet


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel=CHATBOT)(psytest)


@grouped
def psytest(
    transcripts: Annotated[
        Path, typer.Argument(metavar="TRANSCRIPTS", help="dialogues: JSONL of {id, dialogue}, a folder of N.json, ...")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="the cases, as JSONL")],
    *,
    review: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the list that a person decides on; default OUT.review.csv")
    ] = None,
    roles: Annotated[str | None, typer.Option(metavar="CLIENT,COUNSELOR", help="who asks, and who answers")] = None,
    language: Annotated[str | None, typer.Option(help="of the transcripts: zh or en; default by their letters")] = None,
    system: Annotated[
        str | None,
        typer.Option(help="system prompt of each case: paper (Figure 12), paper-zh, paper-en, or a text; default none"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace what is there")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON line on stdout")] = False,
) -> None:
    """A test set from real transcripts: anonymised as a person decides, parted into cases (Table 6).

    smile psytest transcripts.jsonl cases.jsonl

    The first call lists what may tell who somebody is; decide in the list, and call again.
    """
    from smile_async.chatbot.psytest import build
    from smile_async.corpora import open_corpus
    from smile_async.corpus.formats import RoleMap

    named = None if roles is None else RoleMap(*_two(roles))
    corpus = open_corpus(transcripts, roles=named)
    spoken = language_for(corpus, language)
    prompt = system_prompt(system, lambda: spoken)
    listed = review or out.with_name(f"{out.name}.review.csv")
    made = build(corpus, out, review=listed, roles=corpus.roles, language=spoken, system=prompt, overwrite=overwrite)
    if json:
        print_json({"out": None if made.waits else str(out), **made.as_json()})
    else:
        sys.stdout.write(_text(made, out))


def _two(roles: str) -> list[str]:
    names = [name.strip() for name in roles.split(",")]
    if len(names) != 2 or not all(names):
        raise typer.BadParameter(f"{roles!r}: write CLIENT,COUNSELOR", param_hint="--roles")
    return names


def _text(made: "TestSet", out: Path) -> str:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in made.proposals.items()) or "nothing"
    lines = [f"{made.dialogues:,} dialogues; found: {kinds}"]
    if made.waits is not None:
        return "\n".join([
            *lines,
            f"Now decide: open {made.waits}, write accept (the replacement goes there; you may edit it) or keep into",
            "the column decision, read the transcripts for what no list finds, and run the same command again.",
        ]) + "\n"  # fmt: skip
    if made.decisions:
        lines.append("  decided    " + ", ".join(f"{name} {count:,}" for name, count in made.decisions.items()))
    lines.append(
        f"  cases      {made.cases:,}, {made.without_history:,} counselor utterances without a history left out"
    )
    lines.append(f"  written    {out}; its statistics (Table 6): smile stats on the transcripts")
    return "\n".join(lines) + "\n"
