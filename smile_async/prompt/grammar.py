"""A GBNF grammar for a dialogue: llama.cpp then writes nothing else, however small the model is."""

from collections.abc import Sequence

from smile_async.errors import RecipeError

ENDINGS = "。！？"
"""What an utterance may end with where nothing else is said; for Latin scripts pass `endings=".!?"`."""


def dialogue_grammar(
    labels: Sequence[str],
    min_exchanges: int,
    max_exchanges: int,
    max_chars: int,
    *,
    min_chars: int = 4,
    endings: str = ENDINGS,
    colon: str = "：",
    banned: str = "",
) -> str:
    """The grammar of `min_exchanges` to `max_exchanges` exchanges, after which the answer ends.

    In an exchange each label speaks once, in the order given, one line each: label, colon, `min_chars` to `max_chars`
    characters, one of `endings`, which no comma precedes. An utterance holds no line break, no colon (a label could
    hide behind it) and none of `banned`, the inside of a character class (`A-Za-z` keeps Latin letters out of Chinese).
    Lines are separated, not ended, by line breaks. Raises `RecipeError` for numbers or labels that describe nothing.

    The class of characters is wide on purpose: a narrow one cuts tokens that the model would have chosen, which costs
    both sense and, with a vocabulary of 262,144, speed.
    """
    if len(labels) < 2 or not all(labels) or not endings:
        raise RecipeError("A dialogue's grammar needs two labels or more, none empty, and an ending.")
    if not 1 <= min_exchanges <= max_exchanges or not 1 <= min_chars <= max_chars:
        raise RecipeError(
            f"No dialogue has {min_exchanges} to {max_exchanges} exchanges of {min_chars} to {max_chars} characters.",
            hint="Let each minimum be at most its maximum, exchanges at least 1.",
        )
    exchange = ' "\\n" '.join(f"{_literal(label + colon)} say" for label in labels)
    more = _times(min_exchanges - 1, max_exchanges - 1)
    rest = f' ("\\n" exchange){more}' if more else ""
    last = _inside_class(endings)
    class_ = f"\\n\\r:：{banned}"
    return (
        f"root ::= exchange{rest}\n"
        f"exchange ::= {exchange}\n"
        f"say ::= [^{class_}]{{{min_chars - 1},{max_chars - 1}}} [^{class_}，、,{last}] [{last}]\n"
    )


def _times(low: int, high: int) -> str:
    if high == 0:
        return ""
    return f"{{{low}}}" if low == high else f"{{{low},{high}}}"


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _inside_class(characters: str) -> str:
    return "".join(f"\\{each}" if each in "\\]^-" else each for each in characters)
