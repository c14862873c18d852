"""How many damaged answers salvage makes good, and how many of these are not what had been written.

    python benchmarks/salvage.py CORPUS.jsonl[.gz] [--seed 0]

CORPUS holds dialogues in the released corpus's shape, one a line. Each valid one is written out, damaged in each way in
turn, and salvaged. Right: the utterances are those of the original; after a cut, the first so many of them. Wrong: any
other, and anything at all that is saved of what cannot be mended. Prints counts only, no text.
"""

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import orjson

from smile_async.dialogue.parse import Valid, judge
from smile_async.dialogue.rules import DialogueFormat
from smile_async.dialogue.salvage import salvage
from smile_async.simulate.dialogues import _open

Said = list[tuple[str, str]]
CLIENT, COUNSELOR = "求助者", "支持者"
FORM = DialogueFormat.model_validate(
    {
        "roles": {"client": [CLIENT], "counselor": [COUNSELOR]},
        "salvage": {"steps": "free", "synonyms": {"client": ["来访者"], "counselor": ["咨询师"]}},
    }
)


@dataclass(frozen=True)
class Damage:
    """`write` gives the answer's text; `cut`: it was cut off at the token limit; `hopeless`: nothing may be saved."""

    write: Callable[[Said, random.Random], str]
    cut: bool = False
    hopeless: bool = False
    cut_in_label: bool = False

    @property
    def trims(self) -> bool:
        return self.cut or self.cut_in_label


def each(form: str, between: str = "\n") -> Callable[[Said, random.Random], str]:
    return lambda said, _chance: between.join(
        form.format(label=label, said=words, number=number, turn=number // 2 + 1)
        for number, (label, words) in enumerate(said)
    )


def plain(said: Said) -> str:
    return each("{label}: {said}")(said, random.Random(0))


def around(before: str = "", after: str = "") -> Callable[[Said, random.Random], str]:
    return lambda said, _chance: before + plain(said) + after


def other_names(said: Said, _chance: random.Random) -> str:
    names = {CLIENT: "来访者", COUNSELOR: "咨询师"}
    return plain([(names[label], words) for label, words in said])


def headings(said: Said, _chance: random.Random) -> str:
    lines = [f"### 第{n // 2 + 1}轮\n{label}: {words}" if n % 2 == 0 else f"{label}: {words}"
             for n, (label, words) in enumerate(said)]  # fmt: skip
    return "\n".join(lines)


def cut_anywhere(said: Said, chance: random.Random) -> str:
    text = plain(said)
    return text[: chance.randrange(len(text) * 2 // 3, len(text) - 1)]


def cut_in_label(said: Said, chance: random.Random) -> str:
    kept = said[: chance.randrange(len(said) // 2, len(said))]
    return plain(kept) + "\n" + said[len(kept)][0][: chance.randrange(1, 4)]


def without_one_label(said: Said, chance: random.Random) -> str:
    lines = plain(said).split("\n")
    lost = chance.randrange(1, len(lines) - 1)
    return "\n".join([*lines[:lost], said[lost][1], *lines[lost + 1 :]])


def without_first_label(said: Said, _chance: random.Random) -> str:
    return "\n".join([said[0][1], *plain(said).split("\n")[1:]])


def stranger(said: Said, chance: random.Random) -> str:
    lines = plain(said).split("\n")
    lines.insert(chance.randrange(1, len(lines)), "旁白：两个人都沉默了一会儿。")
    return "\n".join(lines)


def unlabelled_end(said: Said, _chance: random.Random) -> str:
    return "\n".join([*plain(said).split("\n")[:-1], said[-1][1]])


PREFACE, NOTE = "好的，以下是改写后的多轮对话：\n\n", "\n\nNote: This is a fictional dialogue for illustration only."
DAMAGES = {
    "**label**：": Damage(each("**{label}**：{said}")),
    "**label: words**": Damage(each("**{label}: {said}**")),
    "- label:": Damage(each("- {label}: {said}")),
    "> label:": Damage(each("> {label}: {said}")),
    "1. label:": Damage(each("{number}. {label}: {said}")),
    "第1轮 label:": Damage(each("第{turn}轮 {label}: {said}")),
    "label1:": Damage(each("{label}{turn}: {said}")),
    "【label】": Damage(each("【{label}】{said}")),
    "[label]:": Damage(each("[{label}]: {said}")),
    "label（微笑）:": Damage(each("{label}（微笑）：{said}")),
    "label :": Damage(each("{label} ：{said}")),
    "label (no colon)": Damage(each("{label} {said}")),
    "label on its own line": Damage(each("{label}：\n{said}")),
    "**label** on its own line": Damage(each("**{label}**\n{said}", "\n\n")),
    "other names": Damage(other_names),
    "no separators": Damage(each("{label}: {said}", "")),
    "blank between, one line": Damage(each("{label}: {said}", " ")),
    "headings between": Damage(headings),
    "preface": Damage(around(PREFACE)),
    "English preface": Damage(around("Sure! Here is the rewritten multi-turn dialogue:\n\n")),
    "title": Damage(around("## 一段心理支持对话\n\n")),
    "fences": Damage(around("```text\n", "\n```")),
    "Chinese note": Damage(around(after="\n\n（注：以上对话仅供参考。）")),
    "English note": Damage(around(after=NOTE)),
    "English note, glued": Damage(around(after=NOTE.replace("\n\n", " "))),
    "preface, bold, note": Damage(lambda said, chance: PREFACE + each("**{label}**：{said}")(said, chance) + NOTE),
    "cut off in the last third": Damage(cut_anywhere, cut=True),
    "cut off in a label": Damage(cut_in_label, cut=True),
    "cut in a label, unsaid by server": Damage(cut_in_label, cut_in_label=True),
    "bold, cut off": Damage(lambda said, _c: each("**{label}**：{said}")(said, _c)[:-7], cut=True),
    "no first label": Damage(without_first_label, hopeless=True),
    "one label lost": Damage(without_one_label, hopeless=True),
    "last label lost": Damage(unlabelled_end, hopeless=True),
    "a narrator": Damage(stranger, hopeless=True),
    "four exchanges": Damage(lambda said, _c: PREFACE + plain(said[:8]), hopeless=True),
}


def dialogues(path: Path) -> list[Said]:
    found = []
    with _open(path) as file:
        for line in file:
            turns = orjson.loads(line)["dialogue"]
            said = [(CLIENT if turn["role"] == "client" else COUNSELOR, turn["content"].strip()) for turn in turns]
            if isinstance(judge(plain(said), form=FORM), Valid) and not any("\n" in words for _, words in said):
                found.append(said)
    return found


def mendable(damage: Damage, said: Said, text: str) -> bool:
    """Whether what is left holds five whole exchanges: the rule of turns still applies."""
    if damage.hopeless or not damage.trims:
        return not damage.hopeless
    whole = next((n for n in range(len(said), 0, -1) if all(words in text for _, words in said[:n])), 0)
    kept = said[:whole] if not text.endswith(said[whole - 1][1]) else said[: whole - 1]
    while kept and kept[-1][0] == CLIENT:
        kept = kept[:-1]
    return len(kept) >= 10


def measure(damage: Damage, corpus: list[Said], chance: random.Random) -> tuple[int, int, int, int, float]:
    """Damaged, mendable, saved, saved wrongly, and microseconds an attempt."""
    damaged = possible = saved = wrong = 0
    took = 0.0
    for said in corpus:
        text, finish = damage.write(said, chance), "length" if damage.cut else "stop"
        if isinstance(judge(text, form=FORM, finish_reason=finish), Valid):
            continue
        damaged += 1
        possible += mendable(damage, said, text)
        began = perf_counter()
        found = salvage(text, form=FORM, finish_reason=finish)
        took += perf_counter() - began
        if found is None:
            continue
        saved += 1
        labels = {"client": CLIENT, "counselor": COUNSELOR}
        got = [(labels[one.role], one.content) for one in found.valid.dialogue.utterances]
        whole = said if "tail" not in found.steps else said[: len(got)]
        wrong += damage.hopeless or got != whole
    return damaged, possible, saved, wrong, took / max(damaged, 1) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Damage dialogues, salvage them, count.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    corpus = dialogues(given.corpus)
    print(f"{len(corpus)} valid dialogues")
    print(f"{'damage':<34}{'damaged':>8}{'mendable':>10}{'saved':>8}{'':>8}{'wrong':>7}{'us each':>9}")
    for name, damage in DAMAGES.items():
        damaged, possible, saved, wrong, took = measure(damage, corpus, random.Random(given.seed))
        share = f"{saved / possible:.1%}" if possible else ""
        print(f"{name:<34}{damaged:>8}{possible:>10}{saved:>8}{share:>8}{wrong:>7}{took:>9.0f}")


if __name__ == "__main__":
    main()
