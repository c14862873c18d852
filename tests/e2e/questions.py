"""Chinese QAs by the thousand, no two alike, and the files that hold them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

QA = dict[str, str]

_WHO = ("我妈妈", "我的室友", "男朋友", "部门主管", "多年的好友", "高中同桌", "我姐姐", "导师", "邻居", "新来的同事")
_WHEN = (
    "最近",
    "从上个月起",
    "毕业以后",
    "换了工作之后",
    "这半年",
    "搬家以来",
    "考试前",
    "每到周末",
    "入冬以后",
    "假期里",
)
_WHAT = (
    "总是忽略我说的话",
    "常常拿我和别人比",
    "答应的事一再推迟",
    "一有分歧就不再理我",
    "什么都要替我决定",
    "把小事看得很重",
    "不愿听我解释",
    "对我忽冷忽热",
    "要我随叫随到",
    "从不提起自己的难处",
)
_FEEL = ("委屈", "焦虑", "疲惫", "孤单", "愤怒", "迷茫", "内疚", "紧张", "失落", "害怕")
_TRY = (
    "写日记",
    "和朋友散步",
    "早一点睡",
    "把话说清楚",
    "列一张清单",
    "做几次深呼吸",
    "给自己留一晚",
    "暂时走开一会儿",
)


def questions(count: int, *, start: int = 0) -> list[QA]:
    """`count` of them from number `start` on: the digits of a number choose the words, so the first 10,000 differ."""
    return [_question(number) for number in range(start, start + count)]


def _question(number: int) -> QA:
    who, when, what, feel = (words[number // 10**place % 10] for place, words in enumerate((_WHO, _WHEN, _WHAT, _FEEL)))
    attempt, other = _TRY[number % 8], _TRY[(number // 8 + 3) % 8]
    return {
        "question": f"{when}{who}{what}，我感到{feel}，该怎么办？",
        "description": f"这样的事已经是第{number + 2}次了。我试过{attempt}，可是一想到{who}，心里还是{feel}，夜里也睡不踏实。",
        "answer": f"你好，读到你的文字，能感到你的{feel}。{who}{what}，换作谁都会难受。不妨先{other}，再找一个平静的时刻，"
        "告诉对方哪一件事让你不舒服、你希望怎样。改变不会一夜发生，先照顾好自己的心情，也请相信你值得被认真对待。",
        "questionID": str(10_000 + number),
    }


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_psyqa(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """PsyQA's own shape: one JSON array, the answer inside a list."""
    told = [
        {
            "question": row["question"],
            "description": row["description"],
            "keywords": "情绪,人际",
            "answers": [{"answer_text": row["answer"], "has_label": False, "labels_sequence": None}],
            "questionID": row["questionID"],
        }
        for row in rows
    ]
    path.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return path
