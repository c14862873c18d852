"""The steps that may make a broken answer good before it is paid for again, and which of them a recipe takes.

Names and groups only: what the steps do stands in `salvage.py` and, for those that ask again, in `dialogue_task.py`.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Step(StrEnum):
    """In the order in which they are taken. Each is counted by its name: flag `salvaged:tail`."""

    FENCES = "fences"  # lines of ``` around the answer
    MARKUP = "markup"  # bold, bullets, quotation and heading signs before a label
    NUMBERING = "numbering"  # "1. ", "(2) ", "第三轮：" before a label
    BRACKETS = "brackets"  # 【label】
    SYNONYMS = "synonyms"  # other names of a speaker, where the recipe lists them
    COLON = "colon"  # none after a label, white space before it, or another sign in its place
    OWN_LINE = "own-line"  # a label alone on its line, its words on the next
    SEPARATORS = "separators"  # all utterances on one line
    HEADINGS = "headings"  # lines between utterances that are headings or rules
    PREFACE = "preface"  # what announces the dialogue before its first utterance
    AFTERWORD = "afterword"  # what is remarked after its last: a note, English in a dialogue that is none
    TAIL = "tail"  # cut back to the last whole exchange
    MORE_TOKENS = "more-tokens"  # asks again, once: the same with twice the room, after an answer that was cut off
    RE_ASK = "re-ask"  # asks again, once: the answer is handed back and the broken rule named


ASKING: Final = frozenset({Step.MORE_TOKENS, Step.RE_ASK})
"""Steps that cost a request. The others work on a reply that is paid for."""

GROUPS: Final[dict[str, tuple[Step, ...]]] = {
    "none": (),
    "all": tuple(Step),
    "free": tuple(step for step in Step if step not in ASKING),
    "speakers": tuple(step for step in Step if step not in {Step.TAIL, *ASKING}),
}
"""Words that stand for several steps."""


def read_steps(given: Any) -> tuple[Step, ...]:
    """`"speakers,tail"`, or a list of such names, as steps in their order, each once. Raises `ValueError`."""
    names = given.split(",") if isinstance(given, str) else given
    if not isinstance(names, Iterable):
        raise ValueError("is a list of steps, or their names with commas between them")  # noqa: TRY004 (pydantic's)
    wanted = {step for name in names for step in _named(name)}
    return tuple(step for step in Step if step in wanted)


def _named(name: Any) -> tuple[Step, ...]:
    word = str(name).strip()
    if word in GROUPS:
        return GROUPS[word]
    try:
        return (Step(word),)
    except ValueError:
        known = ", ".join([*GROUPS, *Step])
        raise ValueError(f"{word!r} is no step of salvage: there are {known}") from None


class SalvageSettings(BaseModel):
    """`[format.salvage]` of a recipe; nothing is salvaged unless `steps` says so.

    `synonyms` are further labels by role that models write though they were told others. `texts` replaces what a
    re-ask says, by the code of the broken rule (`prompt/data/re-ask.toml`); an empty text: not for this rule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[tuple[Step, ...], BeforeValidator(read_steps)] = ()
    synonyms: dict[str, tuple[Annotated[str, Field(min_length=1)], ...]] = Field(default_factory=dict)
    texts: dict[str, str] = Field(default_factory=dict)
