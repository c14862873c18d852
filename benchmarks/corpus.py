"""Input for the benchmarks: a PsyQA-shaped file of as many rows as wanted, all different, by a fixed seed."""

import random
from pathlib import Path

import orjson

SENTENCES = (
    "最近总是睡不好，一到晚上脑子里就停不下来。",
    "和同事的关系变得很紧张，开会的时候我不敢说话。",
    "父母希望我回老家工作，可是我想留在这里再试一试。",
    "我常常觉得自己不够好，别人随口一句话我会想很久。",
    "上个月和相处了三年的人分开了，到现在还缓不过来。",
    "孩子不愿意去上学，一提这件事我们就会吵起来。",
    "备考的压力很大，坐在书桌前却一个字也看不进去。",
    "朋友说我变得很冷淡，其实我只是不知道怎么开口。",
    "先试着把每天的感受写下来，不评判，只是看见它。",
    "情绪没有对错，它只是在提醒你有些需要被忽略了。",
    "可以和信任的人约一个固定的时间，好好地聊一聊。",
    "如果这种状态持续两周以上，建议找专业的人谈一谈。",
)


def write_psyqa(path: Path, rows: int, *, characters: int = 600, seed: int = 1) -> None:
    """A JSON array in PsyQA's shape, written row by row: `rows` questions with one answer each."""
    random_ = random.Random(seed)
    with path.open("wb") as file:
        file.write(b"[\n")
        for number in range(rows):
            if number:
                file.write(b",\n")
            question = f"第{number}个问题：{random_.choice(SENTENCES)}"
            text = "".join(random_.choices(SENTENCES, k=characters // 23))
            half = len(text) // 3
            row = {
                "question": question,
                "description": text[:half],
                "keywords": "情绪,压力",
                "questionID": number,
                "answers": [{"answer_text": text[half:], "has_label": False, "labels_sequence": None}],
            }
            file.write(orjson.dumps(row))
        file.write(b"\n]\n")
