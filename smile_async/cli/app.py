"""`smile`: the command line. Parse, call one function, print; exceptions become a message and an exit code here."""

import os
import sys

import typer

from smile_async.cli.commands import CommandTable
from smile_async.cli.light import import_help
from smile_async.errors import SmileError, SourceError

EPILOG = (
    "Exit codes: 0 every row accepted; 2 usage; 3 done, some rows set aside; 4 stopped before the end, go on with "
    "smile resume or the same command; 130 interrupted."
)

SKIPPING = frozenset({"generate", "plan", "prepare"})  # commands that take --skip-bad-rows

app = typer.Typer(
    name="smile",
    cls=CommandTable,
    help="Single-turn QA in, validated multi-turn dialogues out: with any OpenAI-compatible model, at the limit of the "
    "quota, without losing a row or paying for one twice.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),  # noqa: FBT001
) -> None:
    if show:
        from importlib.metadata import version as installed

        sys.stdout.write(f"smile-async {installed('smile-async')}\n")
        raise typer.Exit


def main() -> None:
    """Run `smile`. Errors of this package go to stderr as their message, without a traceback."""
    # pydantic looks through the metadata of every installed package for plugins: up to a tenth of a second in a large
    # environment, for each command. A command of ours needs none; who uses the library from Python has theirs.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if len(sys.argv) == 1 or not {"-h", "--help"}.isdisjoint(sys.argv):
        import_help()
    try:
        app()
    except KeyboardInterrupt:  # before a run began, or in a command that has nothing to save
        sys.exit(130)
    except SmileError as error:
        sys.stderr.write("".join([sign if sign.isprintable() or sign == "\n" else "?" for sign in f"error: {error}\n"]))
        if isinstance(error, SourceError) and error.skippable and SKIPPING.intersection(sys.argv):
            sys.stderr.write("  --skip-bad-rows sets such rows aside, counted, instead of stopping.\n")
        sys.exit(error.exit_code)
    except OSError as error:  # of a place that no command has foreseen
        if error.filename is None:
            raise
        sys.stderr.write(f"error: {error.filename}: {error.strerror}.\n  Check the path, your rights and the disk.\n")
        sys.exit(1)
