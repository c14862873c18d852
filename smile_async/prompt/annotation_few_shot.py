"""How a base model that follows no instruction is asked for a dialogue's topics: examples, and a grammar of the 60.

This is not Figure 11: it is what the embedded model can do, and its labels are poor.
"""

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from smile_async.prompt.recipe import Messages
from smile_async.prompt.topics import load_topics

SEPARATOR = "，"
MOST_LABELS = 3  # a dialogue: more of them are a small model's guesses

_FILE = files("smile_async.prompt") / "data" / "annotation-local.toml"


@dataclass(frozen=True, slots=True)
class FewShot:
    """The messages around the dialogue that is asked about."""

    before: Messages
    template: str

    def messages(self, dialogue: str) -> Messages:
        """`dialogue` is put in as it is, whatever it holds."""
        return (*self.before, ("user", _filled(self.template, dialogue)))

    @property
    def digest(self) -> str:
        told = repr((self.messages(""), labels_grammar()))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@cache
def few_shot() -> FewShot:
    """In Chinese, the embedded model's only language here."""
    told: dict[str, Any] = tomllib.loads(_FILE.read_text("utf-8"))
    names = "、".join(topic.name for topic in load_topics("zh"))
    template = told["template"].strip()
    messages = [("system", told["system"].replace("{tiny topic}", names))]
    for example in told["examples"]:
        messages += [
            ("user", _filled(template, example["dialogue"].strip())),
            ("assistant", SEPARATOR.join(example["topics"])),
        ]
    return FewShot(tuple(messages), template)


def _filled(template: str, dialogue: str) -> str:
    before, _, after = template.partition("{single dialogue}")
    return before + dialogue + after


@cache
def labels_grammar(most: int = MOST_LABELS) -> str:
    """GBNF: one to `most` of the 60 Chinese names, parted by full-width commas. A name may come twice."""
    names = " | ".join(f'"{topic.name}"' for topic in load_topics("zh"))
    return f'root ::= topic ("{SEPARATOR}" topic){{0,{most - 1}}}\ntopic ::= {names}\n'
