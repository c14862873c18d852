"""The rooms of the house keep their order, and importing is light."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("aiohttp", "httpx", "ijson", "pyarrow", "pyreqwest", "rich", "structlog", "uvloop", "xllamacpp")


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_a_module_imports_only_from_lower_floors_or_its_own_folder() -> None:
    """The contracts stand in pyproject.toml, under tool.importlinter."""
    linted = ran(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    assert linted.returncode == 0, linted.stdout
    assert "0 broken" in linted.stdout


@pytest.mark.parametrize("what", ["smile_async", "smile_async.cli.app"])
def test_importing_brings_in_nothing_heavy(what: str) -> None:
    code = f"import sys, {what}; print(*sorted(set(sys.modules) & {set(HEAVY)!r}))"
    imported = ran(sys.executable, "-c", code)
    assert imported.stdout.strip() == "", imported.stdout + imported.stderr


def test_what_the_package_of_batches_offers_is_there() -> None:
    from smile_async import batch

    assert [getattr(batch, name).__name__ for name in batch.__all__] == batch.__all__
    assert dir(batch) == batch.__all__
