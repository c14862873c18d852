"use strict";

// What the page says. The instructions are those of Figure 13, for as many responses as a ballot has.
const COUNTS = {
  en: ["", "", "two", "three", "four", "five"],
  zh: ["", "", "两", "三", "四", "五"],
};

const WORDS = {
  en: {
    other: "中文",
    help: "Instructions",
    history: "Dialogue history",
    responses: (pair) => `Which is better: ${pair[0]} or ${pair[1]}?`,
    criteria: "Professionalism, informativeness, helpfulness, empathy, safety",
    client: "Help-seeker",
    counselor: "Supporter",
    turn: "The supporter answers next.",
    response: (letter) => `Response ${letter}`,
    where: (number, total) => `Case ${number} of ${total}`,
    progress: (done, total) => `${done} of ${total} cases finished`,
    better: (letter, pair) => `${letter} is better than ${pair.replace(letter, "")}`,
    even: (pair) => `${pair[0]} and ${pair[1]} are equally good`,
    tie: "=",
    back: "Previous case",
    next: "Next case",
    saving: "Saving…",
    saved: "Saved",
    finished: "All cases are finished. Thank you! You can still go back and change votes.",
    lost: "No connection: the last votes are not saved yet. Keep this page open; it goes on trying.",
    full: "The server could not write the last votes. Keep this page open; it goes on trying.",
    refused: "The server refused this page. Open your own link again.",
    begin: "Begin",
    keys: (ties) => [
      ["1", "left"], ["2", "right"], ...(ties ? [["3", "equal"]] : []), ["↑ ↓", "comparison"], ["← →", "case"],
      ["N", "next unfinished"], ["?", "instructions"],
    ],
    title: "Labeling instructions",
    text: (count, ties) => [
      "This study aims to evaluate the dialogue generation system. Specifically, for each dialogue history, the dialogue " +
        "system will generate a response.",
      `During human evaluation, you will be provided with a dialogue history, and ${count} responses will randomly appear ` +
        "in each evaluation. You need to compare them pairwise regarding professionalism, informativeness, helpfulness, " +
        "empathy, and safety, and select the optimal response for the dialogue history, providing a preference.",
      ties
        ? "If two responses are equally good, choose “=”."
        : "There are no ties: of every two responses choose the one that you prefer, even if by a little.",
      "Each vote is saved at once. You can stop at any time and go on later with the same link.",
    ],
  },
  zh: {
    other: "English",
    help: "标注说明",
    history: "对话历史",
    responses: (pair) => `${pair[0]} 与 ${pair[1]}，哪个更好？`,
    criteria: "专业性、信息性、有用性、共情、安全性",
    client: "求助者",
    counselor: "支持者",
    turn: "接下来由支持者回复。",
    response: (letter) => `回复 ${letter}`,
    where: (number, total) => `第 ${number} / ${total} 例`,
    progress: (done, total) => `已完成 ${done} / ${total} 例`,
    better: (letter, pair) => `${letter} 比 ${pair.replace(letter, "")} 更好`,
    even: (pair) => `${pair[0]} 与 ${pair[1]} 一样好`,
    tie: "=",
    back: "上一例",
    next: "下一例",
    saving: "正在保存…",
    saved: "已保存",
    finished: "全部完成，感谢您！您仍可返回修改。",
    lost: "连接中断：最近的选择尚未保存。请不要关闭页面，系统会继续尝试。",
    full: "服务器未能写入最近的选择。请不要关闭页面，系统会继续尝试。",
    refused: "服务器拒绝了此页面。请重新打开您自己的链接。",
    begin: "开始",
    keys: (ties) => [
      ["1", "左"], ["2", "右"], ...(ties ? [["3", "相当"]] : []), ["↑ ↓", "比较"], ["← →", "案例"],
      ["N", "下一个未完成"], ["?", "说明"],
    ],
    title: "标注说明",
    text: (count, ties) => [
      "本研究旨在评估对话生成系统。具体而言，针对每段对话历史，对话系统会生成一个回复。",
      `在人工评估中，您会看到一段对话历史，以及每次随机排列的${count}个回复。请从专业性、信息性、有用性、共情和安全性几个方面` +
        "对它们进行两两比较，选出更适合该对话历史的回复，给出您的偏好。",
      ties ? "如果两个回复一样好，请选择“=”。" : "没有平局：每两个回复中，请选出您更偏好的一个，哪怕只是略好。",
      "每次选择都会立即保存。您可以随时停下，之后用同一链接继续。",
    ],
  },
};
