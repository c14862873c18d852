"""The prompt that asks for a dialogue's topics (Appendix D, Figure 11), in Chinese and English."""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

from smile_async.prompt.topics import load_topics

Language = Literal["zh", "en"]

_FILE = files("smile_async.prompt") / "data" / "annotation.toml"
_SLOT = "{single dialogue}"


def annotation_prompt(dialogue: str, language: Language) -> str:
    """`dialogue` is put in as it is, whatever it holds. The figure's two lists are the topics with their definitions, a
    line each, and their names, parted as the answer is to part them."""
    before, after = _around(language)
    return before + dialogue + after


@cache
def _around(language: Language) -> tuple[str, str]:
    """What stands before and after the dialogue: 4,600 characters in Chinese, the same for every request, so that
    servers that keep prefixes compute it once."""
    template: str = tomllib.loads(_FILE.read_text("utf-8"))[language]
    topics = load_topics(language)
    lists = {
        "{topic definition}": "\n".join(topic.text for topic in topics),
        "{tiny topic}": ", ".join(topic.name for topic in topics),
    }
    filled = re.sub("|".join(map(re.escape, lists)), lambda slot: lists[slot[0]], template.strip())
    before, _, after = filled.partition(_SLOT)
    return before, after
