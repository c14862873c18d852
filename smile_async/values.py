"""Frozen values that are made by the thousand each second.

A frozen dataclass sets its fields past its own guard, which makes one three times as dear as a plain one (0.45 us for
two fields, 1 us for six; a dozen are made for a row). So the guard of these is mypy's, which sees a frozen
dataclass; at run time an assignment would pass.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as light
else:

    def light(cls: Any = None, /, *, frozen: bool, **options: Any) -> Any:
        """`dataclass`, hashed and compared as the frozen one that the type checker sees."""
        assert frozen
        make = dataclass(unsafe_hash=True, **options)
        return make if cls is None else make(cls)


__all__ = ["light"]
