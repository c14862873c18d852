"""Help comes without what it does not use."""

import subprocess
import sys

HEAVY = (
    "asyncio",
    "markdown_it",
    "pydantic",
    "pygments",
    "rich.markdown",
    "rich.traceback",
    "smile_async.engine.events",
)


def loaded(*arguments: str) -> set[str]:
    code = (
        f"import sys; sys.argv = ['smile', *{arguments!r}]\n"
        "from smile_async.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(told.partition("LOADED")[2].split())


def test_help_brings_in_no_markdown_no_tracebacks_no_loop_and_no_models() -> None:
    found = loaded("--help")
    assert "typer.rich_utils" in found
    assert not found.intersection(HEAVY)


def test_status_brings_in_no_recipes_and_no_readers() -> None:
    found = loaded("status", "nowhere")
    assert "smile_async.run_folder" in found
    assert not found.intersection({"smile_async.prompt.recipe", "smile_async.source", "smile_async.dialogue.model"})


def test_who_needs_the_real_thing_gets_it() -> None:
    code = (
        "from smile_async.cli.light import import_help; import_help()\n"
        "import rich.markdown, rich.traceback, typer.rich_utils as used\n"
        "assert isinstance(used.Markdown('a'), rich.markdown.Markdown)\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError as error:\n"
        "    made = used.Traceback.from_exception(type(error), error, error.__traceback__)\n"
        "assert isinstance(made, rich.traceback.Traceback)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
