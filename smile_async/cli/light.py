"""Help without what it does not use: typer draws it with rich and brings in rich's Markdown and tracebacks for that,
with parsers and syntax colours behind them, more than half of the time that `smile --help` takes.

While `typer.rich_utils` is imported, stand-ins answer for both; whoever builds one gets the real thing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class Markdown:
    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return import_module("rich.markdown").Markdown(*args, **kwargs)


class Traceback:
    @classmethod
    def from_exception(cls, *args: Any, **kwargs: Any) -> Any:
        return import_module("rich.traceback").Traceback.from_exception(*args, **kwargs)


def import_help() -> None:
    """Import what typer writes its help with."""
    stand_ins = {"rich.markdown": Markdown, "rich.traceback": Traceback}
    put = {name: ModuleType(name) for name in stand_ins if name not in sys.modules}
    for name, module in put.items():
        setattr(module, stand_ins[name].__name__, stand_ins[name])
    sys.modules.update(put)
    try:
        import_module("typer.rich_utils")
    finally:
        for name in put:
            del sys.modules[name]
