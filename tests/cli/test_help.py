"""Every command explains itself."""

import subprocess
import sys

import pytest
import typer.core

from smile_async.cli.commands import COMMANDS as TABLE
from smile_async.cli.commands import command_of
from tests.cli.conftest import Smile

COMMANDS = sorted(TABLE)
GROUPS = [name for name in COMMANDS if isinstance(command_of(name), typer.core.TyperGroup)]
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


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in command_of(group).commands])
def test_help_of_a_command_in_a_group_has_an_example_and_words_for_its_flags(
    smile: Smile, group: str, name: str
) -> None:
    ended = smile(group, name, "--help")
    assert ended.code == 0
    assert [line for line in ended.out.splitlines() if line.strip().startswith(f"smile {group} {name} ")], ended.out
    command = command_of(group).commands[name]
    assert not [one.name for one in command.params if one.param_type_name == "option" and not one.help]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_command_says_of_itself(name: str) -> None:
    command = command_of(name)
    assert " ".join(command.help.partition("\n\n")[0].split()) == TABLE[name].help
    assert command.rich_help_panel == TABLE[name].panel


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_word_of_help(name: str) -> None:
    command = command_of(name)
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
