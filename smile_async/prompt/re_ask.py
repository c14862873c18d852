"""What a model is told when its answer broke a rule: one text a rule, in Chinese and English, or the recipe's own."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from smile_async.prompt.recipe import Recipe

_FILE = files("smile_async.prompt") / "data" / "re-ask.toml"


def re_ask_text(code: str, recipe: Recipe) -> str:
    """The text for a broken rule, with `{labels}`, `{first}` and `{min_turns}` filled in; empty where handing the
    answer back would not help (a refusal, a loop).

    Other languages than Chinese are addressed in English, as most models are.
    """
    own = recipe.format.salvage.texts
    text = own[code] if code in own else _texts("zh" if recipe.language.startswith("zh") else "en").get(code, "")
    form = recipe.format
    labels = [each[0] for each in form.roles.values()]
    first = form.roles[form.opener][0] if form.opener else labels[0]
    both = ("、" if recipe.language.startswith("zh") else " / ").join(f'"{label}: "' for label in labels)
    for slot, value in (("{labels}", both), ("{first}", f'"{first}: "'), ("{min_turns}", str(form.min_turns))):
        text = text.replace(slot, value)
    return text.strip()


@cache
def _texts(language: str) -> Mapping[str, str]:
    texts: Mapping[str, str] = tomllib.loads(_FILE.read_text("utf-8"))[language]
    return texts
