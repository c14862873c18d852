"""When somebody speaks of self-harm, people are named who can help, whatever the model answers.

Words are looked for, not meanings: a pattern may find a phrase that was meant otherwise, and a veiled one may pass.
"""

import os
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from smile_async.errors import SettingsError

Language = Literal["zh", "en"]
ANYWHERE = "*"

_HAN_GAP = re.compile(r"(?<=[\u3400-\u9fff])[\s\u200b-\u200d\ufeff·.,,。*_-]+(?=[\u3400-\u9fff])")


@dataclass(frozen=True, slots=True)
class HelpLines:
    """Whom to call in one country; `name` is empty where the country is not known."""

    country: str
    name: str
    emergency: str
    lines: tuple[str, ...]


def speaks_of_self_harm(text: str) -> Language | None:
    """The language in which `text` speaks of suicide or self-harm; None when no pattern is met."""
    plain = _HAN_GAP.sub("", unicodedata.normalize("NFKC", text)).lower().replace("\u2019", "'")
    for language, patterns in _patterns().items():
        if any(pattern.search(plain) for pattern in patterns):
            return language
    return None


@lru_cache(maxsize=1)
def _patterns() -> dict[Language, tuple[re.Pattern[str], ...]]:
    found = tomllib.loads(_data("self_harm.toml"))
    languages: tuple[Language, ...] = ("zh", "en")
    return {language: tuple(re.compile(one) for one in found[language]["speaks"]) for language in languages}


def help_lines(country: str | None = None, own: Path | None = None) -> HelpLines:
    """The lines of `country` (two letters; None: the one the locale names), else those for anywhere. `own` is a file
    in the shape of `data/helplines.toml` whose countries go over the built-in ones.

    Raises `SettingsError` for a country that was named and is not listed, and for a file that cannot be used.
    """
    table: dict[str, Any] = tomllib.loads(_data("helplines.toml")) | _own(own)
    wanted = (country or _region(os.environ) or ANYWHERE).upper()
    if country and wanted not in table:
        raise SettingsError(
            f"No help lines are listed for {country!r}.",
            hint=f"There are: {', '.join(sorted(table))}. Others come from a file of yours: --helplines FILE.",
        )
    key = wanted if wanted in table else ANYWHERE
    return _read(key, table[key], str(own or "helplines.toml"))


def _own(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return {key.upper(): value for key, value in tomllib.loads(path.read_text("utf-8")).items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}", hint="docs/chat.md shows such a file.") from error


def _read(country: str, entry: Any, where: str) -> HelpLines:
    lines = entry.get("lines") if isinstance(entry, dict) else None
    if not isinstance(lines, list) or not lines or not all(isinstance(one, str) for one in lines):
        raise SettingsError(f"{where}: {country} has no lines.", hint='lines = ["NAME: NUMBER", ...]')
    return HelpLines(country, str(entry.get("name", "")), str(entry.get("emergency", "")), tuple(lines))


def _region(environ: Mapping[str, str]) -> str | None:
    """GB of `en_GB.UTF-8`."""
    found = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    region = re.match(r"[A-Za-z]{2,3}_([A-Za-z]{2})\b", found.replace(".", " "))
    return region[1] if region else None


def language_of(environ: Mapping[str, str]) -> Language:
    found = next((environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environ.get(name)), "")
    return "zh" if found.lower().startswith("zh") else "en"


def help_text(found: HelpLines, language: Language) -> str:
    """What is shown when a message speaks of self-harm."""
    place = f" ({found.name})" if found.name else ""
    lines = lines_text(found)
    if language == "zh":
        head = f"听起来你现在很难受。你不必独自承受，请现在就联系能帮助你的人{place}："
        end = f"如果你正处于危险之中，请立即拨打急救或报警电话 {found.emergency}，或请身边的人陪着你。"
    else:
        head = (
            f"It sounds as if you are in great pain. You do not have to bear it alone; please talk to a person{place}:"
        )
        end = f"In immediate danger call {found.emergency}, or ask somebody near you to stay with you."
    return f"{head}\n{lines}\n{end}"


def lines_text(found: HelpLines) -> str:
    """The lines alone."""
    return "\n".join(f"  {line}" for line in found.lines)


def beginning(language: Language) -> str:
    """What a conversation begins with."""
    if language == "zh":
        return (
            "这是一个研究用的语言模型，不是心理咨询师，也不能代替专业帮助。它会出错，也不会记得你。\n"
            "处于危机中时，请拨打热线或急救电话（/lines）。"
        )
    return (
        "This is a language model for research. It is no counselor and no substitute for professional help; it makes "
        "mistakes. In a crisis call a help line or emergency services (/lines)."
    )


def _data(name: str) -> str:
    return files("smile_async.chatbot").joinpath(f"data/{name}").read_text(encoding="utf-8")
