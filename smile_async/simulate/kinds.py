"""What kind of answer a prompt asks for: a dialogue, a dialogue's topics, or the next turn of a conversation."""

from collections.abc import Sequence
from enum import Enum

from smile_async.engine.job import Message
from smile_async.prompt.topics import load_topics

TOPICS_ASKED = ("这个对话的对话主题是：", "The topics for this dialogue are:", "【主题】")
"""How prompts for annotation end: Figure 11 in both languages, and that for base models."""
SPEAKERS = ("求助者", "支持者")
MOST_TOPICS = 4


class Kind(Enum):
    """What is asked for."""

    DIALOGUE = "dialogue"
    TOPICS = "topics"
    TOPICS_EN = "topics-en"
    TURN = "turn"


def kind_of(messages: Sequence[Message], *, labelled: bool = False) -> Kind:
    """A turn is what follows a system prompt or turns of before, where nobody speaks of help-seeker and supporter:
    such requests (and those with `labelled` speakers) want a whole dialogue, examples and named rules included."""
    last = messages[-1].content.rstrip()
    if last.endswith(TOPICS_ASKED):
        return Kind.TOPICS_EN if last.endswith(TOPICS_ASKED[1]) else Kind.TOPICS
    if len(messages) == 1 or labelled or messages[-1].role != "user":
        return Kind.DIALOGUE
    said = [message.content for message in messages if message.role != "system"]
    return Kind.DIALOGUE if any(speaker in text for text in said for speaker in SPEAKERS) else Kind.TURN


def topics_answer(kind: Kind, draw: int, *, unlisted: bool = False) -> str:
    """One to four of the 60, the first ones more often than the last, as a list in the asked form; `unlisted`: one of
    them is none of the 60."""
    topics = load_topics("en" if kind is Kind.TOPICS_EN else "zh")
    names: dict[str, None] = {}
    for place in range(1 + draw % MOST_TOPICS):
        share = (draw >> 8 * (place + 1) & 0xFF) / 256
        names[topics[int(len(topics) * share * share)].name] = None
    if unlisted:
        names["Weather" if kind is Kind.TOPICS_EN else "天气变化"] = None
    return ", ".join(names)
