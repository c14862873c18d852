"""Templates with slots: `{QA}` and `[Dialogue Topic]` as the paper prints them, and their parts.

A template is filled in one pass: what is put into a slot is never looked at again, so that braces and slot names in a
user's text stay what they are. Any other braces in a template are text.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

QA_SLOTS: Final = frozenset({"{question}", "{description}", "{answer}"})
TOPIC_SLOTS: Final = frozenset({"{topic}", "{topic_definition}", "[Dialogue Topic]"})
QA: Final = "{QA}"

# A description or a definition may be empty: the blank or line break before it then goes with it.
_SLOT = re.compile(
    r"([ \t]*\n?[ \t]*)(\{description\}|\{topic_definition\})"
    r"|()(\{QA\}|\{question\}|\{answer\}|\{topic\}|\[Dialogue Topic\])"
)


class _Part(NamedTuple):
    """Text, then `lead` and a slot's value; neither of the two when the value is empty. The last part has no slot."""

    text: str
    lead: str
    slot: str


@lru_cache(maxsize=256)
def _parts(template: str, qa: str | None = None) -> tuple[_Part, ...]:
    """`qa` stands in the place of `{QA}`, unless it is None."""
    parts: list[_Part] = []
    at, carried = 0, ""
    for match in _SLOT.finditer(template):
        text, slot = carried + template[at : match.start()], match[2] or match[4]
        at, carried = match.end(), ""
        if slot == QA and qa is not None:
            first, *others = _parts(qa)
            *whole, last = first._replace(text=text + first.text), *others
            parts += whole
            carried = last.text
        else:
            parts.append(_Part(text, match[1] or "", slot))
    return (*parts, _Part(carried + template[at:], "", ""))


def slots_in(template: str) -> frozenset[str]:
    """The slots of a template, as they are written in it."""
    return frozenset(part.slot for part in _parts(template) if part.slot)


def fill(template: str, values: Mapping[str, str], qa: str | None = None) -> str:
    """Every slot replaced by its value; `values` is keyed by slots as written, and must hold each slot used. `qa` is
    the template of what stands in the place of `{QA}`."""
    pieces: list[str] = []
    for text, lead, slot in _parts(template, qa):
        pieces.append(text)
        if slot and (value := values[slot]):
            pieces += (lead, value)
    return "".join(pieces)
