"""Chinese or not, by the characters: which of the paper's two languages a corpus is in."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from smile_async.corpus.formats import Record

Language = Literal["zh", "en"]

LOOKED_AT = 200  # dialogues that tell the language
_HAN = re.compile(r"[\u4e00-\u9fff]")
_HAN_SHARE = 0.2  # of the characters: Chinese, whatever Latin words are among them


@dataclass(slots=True)
class Letters:
    """Characters counted. `language` is Chinese or else English, as the paper has no third."""

    characters: int = 0
    letters: int = 0
    han: int = 0

    def add(self, text: str) -> None:
        self.characters += len(text)
        self.letters += sum(map(str.isalpha, text))
        self.han += len(_HAN.findall(text))

    @property
    def language(self) -> Language:
        return "zh" if self.han > _HAN_SHARE * self.characters else "en"

    def speak_against(self, language: str) -> bool:
        """Whether the texts are plainly in another language: hardly a Chinese character for zh, most of the letters for
        en. Of other languages, and of no text, nothing is said."""
        code = language.partition("-")[0].lower()
        return bool(self.letters) and (self.language == "en" if code == "zh" else code == "en" and self.mostly_han)

    @property
    def mostly_han(self) -> bool:
        return 2 * self.han > self.letters


def letters_of(texts: Iterable[str]) -> Letters:
    found = Letters()
    for text in texts:
        found.add(text)
    return found


def first_texts(records: Iterable[Record]) -> Iterator[str]:
    """What is said in the first dialogues of a corpus: enough to tell its language."""
    return (one.content for record in islice(records, LOOKED_AT) for one in record.dialogue.utterances)
