"""`python -m smile_async.simulate --port 8080 --fault reset=0.01 --limit requests=600`: the server as a process."""

import argparse
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from smile_async.errors import SettingsError, SmileError
from smile_async.simulate.server import run_server
from smile_async.simulate.settings import SimulatorSettings


def main(arguments: list[str] | None = None) -> int:
    """Prints one line, `listening on http://HOST:PORT/v1`, and serves until SIGINT or SIGTERM."""
    flags = _parser().parse_args(arguments)
    try:
        settings = _settings(flags)
        run_server(settings, flags.host, flags.port, _announce)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            place = ".".join(str(part) for part in problem["loc"])
            sys.stderr.write(f"{place or 'settings'}: {problem['msg']}\n")
        return 2
    except SmileError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _announce(base_url: str) -> None:
    sys.stdout.write(f"listening on {base_url}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m smile_async.simulate", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--settings", type=Path, help="a JSON file of SimulatorSettings; flags win over it")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--dialogues", type=Path, help="answer from this SMILECHAT-shaped JSONL (.gz)")
    parser.add_argument("--dialogues-by", choices=["hash", "order"])
    parser.add_argument("--max-concurrency", type=int)
    for name, example in (
        ("latency", "base=0.2"),
        ("limit", "requests=600"),
        ("fault", "reset=0.01"),
        ("breach", "bad-start=0.02"),
    ):
        parser.add_argument(f"--{name}", action="append", default=[], type=_pair, metavar=example)
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        msg = f"{text!r} is not NAME=VALUE"
        raise argparse.ArgumentTypeError(msg)
    return name, value


def _settings(flags: argparse.Namespace) -> SimulatorSettings:
    base = SimulatorSettings()
    if flags.settings is not None:
        base = _read(flags.settings)
    found: dict[str, Any] = base.model_dump()
    for name in ("seed", "dialogues", "dialogues_by", "max_concurrency"):
        if getattr(flags, name) is not None:
            found[name] = getattr(flags, name)
    found["latency"] |= dict(flags.latency)
    found["limits"] |= dict(flags.limit)
    found["faults"] |= dict(flags.fault)
    found["breaches"] |= dict(flags.breach)
    return SimulatorSettings.model_validate(found)


def _read(path: Path) -> SimulatorSettings:
    try:
        return SimulatorSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="Check the path of --settings.") from error


if __name__ == "__main__":
    sys.exit(main())
