"use strict";

// Every text goes in as text (textContent), never as HTML; the server's policy forbids anything else.
const RETRY = 1500; // ms between two tries to save a vote
const PAUSE = 450; // ms that a finished case stays before the next one comes
const MOST_STEPS = 160; // cases that the progress bar shows one by one

const at = (id) => document.getElementById(id);
const state = {
  study: null, place: 0, pair: 0, waiting: new Map(), sending: false, saved: false, trouble: "", stopped: false, turning: 0,
  language: remembered("language") ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en"),
};

function remembered(name) {
  try { return localStorage.getItem(`smile-vote-${name}`); } catch { return null; }
}

function remember(name, value) {
  try { localStorage.setItem(`smile-vote-${name}`, value); } catch { /* a private window remembers nothing */ }
}

function element(kind, className, text) {
  const made = document.createElement(kind);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const words = () => WORDS[state.language];
const ballot = () => state.study.ballots[state.place];
const votesOf = (one) => state.study.votes[one.case] ??= {};
const open = (one) => state.study.pairs.filter((pair) => !(pair in votesOf(one)));
const finished = () => state.study.ballots.filter((one) => open(one).length === 0).length;

function go(place) {
  if (place < 0 || place >= state.study.ballots.length) return;
  clearTimeout(state.turning);
  state.place = place;
  const first = open(ballot())[0];
  state.pair = first === undefined ? 0 : state.study.pairs.indexOf(first);
  show();
  at("history").scrollTop = at("history").scrollHeight;
  at("responses").scrollTop = 0;
  document.querySelector("main").scrollTop = 0;
}

function nextOpen() {
  const total = state.study.ballots.length;
  for (let step = 1; step <= total; step += 1) {
    const place = (state.place + step) % total;
    if (open(state.study.ballots[place]).length) return go(place);
  }
  return undefined;
}

function choose(pair, choice) {
  if (state.stopped) return;
  const one = ballot();
  const wasOpen = open(one).length;
  votesOf(one)[pair] = choice;
  state.waiting.set(`${one.case}\n${pair}`, { rater: state.study.rater, case: one.case, pair, choice });
  save();
  const left = open(one);
  state.pair = state.study.pairs.indexOf(left.length ? left[0] : pair);
  clearTimeout(state.turning);
  if (wasOpen && !left.length && state.place + 1 < state.study.ballots.length) {
    const from = state.place;
    state.turning = setTimeout(() => { if (state.place === from) go(from + 1); }, PAUSE);
  }
  show();
}

async function save() {
  if (state.sending) return;
  state.sending = true;
  while (state.waiting.size && !state.stopped) {
    const [place, vote] = state.waiting.entries().next().value;
    const answer = await send(vote);
    if (answer === "saved" && state.waiting.get(place) === vote) state.waiting.delete(place);
    state.saved ||= answer === "saved";
    state.stopped = answer === "refused";
    state.trouble = answer === "saved" ? "" : answer;
    showTrouble();
    if (state.trouble && !state.stopped) await new Promise((done) => setTimeout(done, RETRY));
  }
  state.sending = false;
}

async function send(vote) {
  try {
    const answer = await fetch("/api/vote", {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(vote),
      signal: AbortSignal.timeout(20000),
    });
    if (answer.ok) return "saved";
    return answer.status >= 500 ? "full" : "refused";
  } catch {
    return "lost";
  }
}

function show() {
  const said = words();
  const total = state.study.ballots.length;
  document.documentElement.lang = state.language;
  at("where").textContent = said.where(state.place + 1, total);
  at("rater").textContent = state.study.rater;
  at("help").textContent = said.help;
  at("language").textContent = said.other;
  at("history-title").textContent = said.history;
  at("responses-title").textContent = said.responses(state.study.pairs[state.pair]);
  at("criteria").textContent = said.criteria;
  for (const [id, text] of [["back", said.back], ["next", said.next]]) {
    at(id).textContent = text;
    at(id).setAttribute("aria-label", text);
  }
  at("back").disabled = state.place === 0;
  at("next").disabled = state.place === total - 1;
  at("next").classList.toggle("ready", open(ballot()).length === 0 && state.place < total - 1);
  at("keys").replaceChildren(...said.keys(state.study.ties).map(([key, text]) => {
    const hint = element("span");
    hint.append(element("kbd", "", key), text);
    return hint;
  }));
  showTrack();
  showHistory();
  showResponses();
  showPairs();
  showTrouble();
  showInstructions();
}

function showTrack() {
  const { study } = state;
  const total = study.ballots.length;
  const many = total > MOST_STEPS;
  const steps = many ? MOST_STEPS : total;
  const made = [];
  for (let step = 0; step < steps; step += 1) {
    const first = Math.floor((step * total) / steps);
    const last = Math.floor(((step + 1) * total) / steps);
    const part = study.ballots.slice(first, last);
    const left = part.filter((one) => open(one).length).length;
    const begun = part.some((one) => open(one).length < study.pairs.length);
    const mark = element("span", left === 0 ? "done" : begun ? "part" : "");
    if (state.place >= first && state.place < last) mark.classList.add("here");
    mark.dataset.place = String(first);
    made.push(mark);
  }
  const track = at("track");
  track.replaceChildren(...made);
  track.setAttribute("aria-valuemax", String(total));
  track.setAttribute("aria-valuenow", String(finished()));
  track.setAttribute("aria-label", words().progress(finished(), total));
  track.title = words().progress(finished(), total);
}

function showHistory() {
  const said = words();
  const made = [...ballot().history, { who: "counselor turn", text: said.turn }].map(({ who, text }) => {
    const line = element("li", who);
    line.append(element("span", "who", said[who.split(" ")[0]]), element("span", "bubble", text));
    return line;
  });
  at("history").replaceChildren(...made);
}

function showResponses() {
  const pair = state.study.pairs[state.pair];
  const chosen = votesOf(ballot())[pair];
  const made = ballot().responses.map(({ letter, text }) => {
    const card = element("article", "card");
    card.classList.add(pair.includes(letter) ? "compared" : "aside");
    card.classList.toggle("chosen", chosen === letter);
    card.setAttribute("aria-label", words().response(letter));
    card.append(element("span", "badge", letter), element("span", "text", text));
    return card;
  });
  at("responses").replaceChildren(...made);
}

function showPairs() {
  const said = words();
  const { pair: focusPair } = document.activeElement.parentElement?.dataset ?? {};
  const { choice: focusChoice } = document.activeElement.dataset;
  const made = state.study.pairs.map((pair, number) => {
    const group = element("div", number === state.pair ? "pair active" : "pair");
    group.setAttribute("role", "group");
    group.dataset.pair = pair;
    const choices = state.study.ties ? [pair[0], "tie", pair[1]] : [...pair];
    for (const choice of choices) {
      const button = element("button", choice === "tie" ? "tie" : "", choice === "tie" ? said.tie : choice);
      button.type = "button";
      button.dataset.choice = choice;
      button.setAttribute("aria-label", choice === "tie" ? said.even(pair) : said.better(choice, pair));
      button.setAttribute("aria-pressed", String(votesOf(ballot())[pair] === choice));
      button.addEventListener("click", () => { state.pair = number; choose(pair, choice); });
      group.append(button);
    }
    return group;
  });
  at("pairs").replaceChildren(...made);
  const strip = at("pairs"); // on a phone it may be wider than the screen
  const shown = made[state.pair];
  strip.scrollLeft = shown.offsetLeft - strip.offsetLeft - (strip.clientWidth - shown.offsetWidth) / 2;
  if (focusChoice) { // the button that was pressed was replaced: the keyboard stays where it was
    at("pairs").querySelector(`[data-pair="${focusPair}"] [data-choice="${focusChoice}"]`)?.focus();
  }
}

function showTrouble() {
  const said = words();
  const done = state.study && finished() === state.study.ballots.length;
  const text = state.trouble ? said[state.trouble] : done && !state.waiting.size ? said.finished : "";
  const turned = at("trouble").hidden === Boolean(text);
  at("trouble").hidden = !text;
  at("trouble").textContent = text;
  if (turned) at("history").scrollTop = at("history").scrollHeight; // it takes room: the history's end stays in sight
  at("trouble").classList.toggle("good", !state.trouble);
  document.body.dataset.state = state.trouble || (state.waiting.size ? "saving" : "saved");
  at("saved").textContent = state.waiting.size ? said.saving : state.saved ? said.saved : "";
}

function showInstructions() {
  const said = words();
  at("instructions-title").textContent = said.title;
  at("begin").textContent = said.begin;
  const count = COUNTS[state.language][state.study.letters.length];
  const made = said.text(count, state.study.ties).map((text) => element("p", "", text));
  at("instructions-text").replaceChildren(...made);
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || at("instructions").open) return;
  if (event.target === at("history") && ["ArrowUp", "ArrowDown"].includes(event.key)) return; // it scrolls
  const { pairs } = state.study;
  const pair = pairs[state.pair];
  const deeds = {
    1: () => choose(pair, pair[0]),
    2: () => choose(pair, pair[1]),
    ...(state.study.ties ? { 3: () => choose(pair, "tie") } : {}),
    ArrowLeft: () => go(state.place - 1),
    ArrowRight: () => go(state.place + 1),
    ArrowUp: () => turn(-1),
    ArrowDown: () => turn(1),
    n: nextOpen,
    "?": () => at("instructions").showModal(),
  };
  const deed = deeds[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!deed) return;
  event.preventDefault();
  deed();
}

function turn(step) {
  clearTimeout(state.turning);
  state.pair = (state.pair + step + state.study.pairs.length) % state.study.pairs.length;
  show();
}

async function begin() {
  history.replaceState(null, "", "/"); // the link's secret does not stay in sight
  const answer = await fetch("/api/study").catch(() => null);
  if (!answer?.ok) {
    at("trouble").textContent = words()[answer ? "refused" : "lost"];
    at("trouble").hidden = false;
    return;
  }
  state.study = await answer.json();
  const first = state.study.ballots.findIndex((one) => open(one).length);
  go(first < 0 ? 0 : first);
  at("back").addEventListener("click", () => go(state.place - 1));
  at("next").addEventListener("click", () => go(state.place + 1));
  at("help").addEventListener("click", () => at("instructions").showModal());
  at("begin").addEventListener("click", () => at("instructions").close());
  at("instructions").addEventListener("close", () => remember("read", "yes"));
  at("language").addEventListener("click", () => {
    state.language = state.language === "en" ? "zh" : "en";
    remember("language", state.language);
    show();
  });
  at("track").addEventListener("click", (event) => {
    if (event.target.dataset.place) go(Number(event.target.dataset.place));
  });
  document.addEventListener("keydown", press);
  window.addEventListener("beforeunload", (event) => { if (state.waiting.size) event.preventDefault(); });
  if (!remembered("read")) at("instructions").showModal();
}

begin();
