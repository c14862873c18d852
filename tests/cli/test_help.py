"""Every command explains itself."""

import subprocess
import sys

import pytest
import typer.main

from smile_async.cli.app import app
from tests.cli.conftest import Smile

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
WANTED = {
    "generate", "resume", "retry", "status", "control", "revalidate", "export", "prepare", "sample", "local", "simulate",
    "batch",
}  # fmt: skip


def test_all_commands_are_there() -> None:
    assert set(COMMANDS) >= WANTED


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_has_an_example_and_goes_to_stdout(smile: Smile, name: str) -> None:
    ended = smile(name, "--help")
    assert ended.code == 0
    assert ended.err == ""
    examples = [line for line in ended.out.splitlines() if line.strip().startswith(f"smile {name} ")]
    assert examples, ended.out


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands["batch"].commands))  # type: ignore[attr-defined]
def test_help_of_a_batch_command_has_an_example_and_words_for_its_flags(smile: Smile, name: str) -> None:
    ended = smile("batch", name, "--help")
    assert ended.code == 0
    assert [line for line in ended.out.splitlines() if line.strip().startswith(f"smile batch {name} ")], ended.out
    command = typer.main.get_command(app).commands["batch"].commands[name]  # type: ignore[attr-defined]
    assert not [one.name for one in command.params if one.param_type_name == "option" and not one.help]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_word_of_help(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    # (None: an argument whose name says it, as RUN does.)
    assert not [one.name for one in command.params if one.param_type_name == "option" and not one.help]


def test_help_names_the_exit_codes(smile: Smile) -> None:
    ended = smile("--help")
    assert ended.code == 0
    told = " ".join(ended.out.split())
    for words in ("0 every row accepted", "2 usage", "3 done, some rows set aside", "4 stopped", "130 interrupted"):
        assert words in told


def test_version(smile: Smile) -> None:
    assert smile("--version").out.startswith("smile-async ")


@pytest.mark.e2e
def test_help_loads_nothing_heavy() -> None:
    heavy = (
        "httpx",
        "pyreqwest",
        "pyarrow",
        "xllamacpp",
        "ijson",
        "uvloop",
        "torch",
        "aiolimiter",
        "prometheus_client",
        "opentelemetry",
    )
    code = (
        "import sys; sys.argv = ['smile', 'generate', '--help']\n"
        "from smile_async.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [name for name in {heavy} if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "LOADED []"


def test_a_plan_takes_no_flag_that_only_a_run_obeys(smile: Smile) -> None:
    for flag in ("--events", "--metrics-port", "--metrics-host", "--otel"):
        assert flag in smile("generate", "--help").out
        assert flag not in smile("plan", "--help").out
