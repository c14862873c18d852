// Samples, found and read; the bar at the top; and the page put together.
function marked(words) {
  const wanted = state.text.trim().toLowerCase();
  if (!wanted) return [words];
  const parts = [], low = words.toLowerCase();
  if (low.length !== words.length) return [words]; // a letter that changes its length: places would not agree
  let at = 0;
  for (let found = low.indexOf(wanted); found >= 0 && parts.length < 400; found = low.indexOf(wanted, at)) {
    parts.push(words.slice(at, found), h("mark", null, words.slice(found, found + wanted.length)));
    at = found + wanted.length;
  }
  return [...parts, words.slice(at)];
}
const turnsOf = (one) => Math.floor(one.said.filter(([role]) => role).length / 2);
const charactersOf = (one) => sum(one.said.map(([, words]) => words.length));
function matching() {
  const wanted = state.text.trim().toLowerCase(), from = state.from === "" ? 0 : Number(state.from), to = state.to === "" ? Infinity : Number(state.to);
  return data.samples.rows.filter((one) => (!state.reason || one.reason === state.reason) && turnsOf(one) >= from && turnsOf(one) <= to &&
    (!wanted || [one.id, one.source || "", one.topic || "", ...(one.topics || []).flatMap((name) => [name, topicNamed(name)]), ...(one.flags || []), ...(one.pair || []), ...one.said.map(([, words]) => words)].some((words) => words.toLowerCase().includes(wanted))));
}
const named = (reason) => (run || reason !== "accepted" ? code(reason) : t("dialogues.one"));
const tag = (reason) => h("span", { class: "tag " + (reason === "accepted" ? "accepted" : "rejected") }, named(reason));
function drawnOf(reason) {
  const n = data.samples.rows.filter((one) => one.reason === reason).length;
  return t("dialogues.drawn", { n: count(n), of: count(data.samples.of[reason] || n), reason: named(reason) });
}
// A label in the reader's language, where the report knows it.
const topicOf = (name) => (data.topics ? data.topics.shares.find((one) => one.zh === name || one.en === name) : undefined);
function topicNamed(name) { const found = topicOf(name); return found ? (state.lang ? found.zh : found.en) : name; }
const inCrisis = (name) => Boolean(topicOf(name)?.crisis);
function bubble([role, words]) {
  const place = data.roles.indexOf(role), side = role === "" || place < 0 ? (role ? "" : "middle") : place === 1 ? "right" : "";
  const who = role === "" ? t("dialogues.nobody") : place >= 0 ? t(["client", "counselor"][place]) : role;
  return h("li", { class: "said-by " + side }, h("span", { class: "who" }, who), h("div", { class: "bubble", dir: "auto" }, marked(words)));
}
function pane(one) {
  const end = one.reason !== "accepted" && t("dialogues.end." + (one.end || "pending"));
  const head = h("header", null, h("p", { class: "tags" }, tag(one.reason), (one.flags || []).map((flag) => h("span", { class: "tag" }, code(flag.replace("salvaged:", "")))), end && h("span", { class: "tag" }, end)),
    one.detail && h("p", { class: "why" }, one.detail),
    h("p", null, t("dialogues.n", { turns: count(turnsOf(one)), chars: count(charactersOf(one)) }), " · ", t("dialogues.id"), " ", h("code", null, marked(one.id)), one.source && [" · ", t("dialogues.source"), " ", h("code", null, marked(one.source))], one.endpoint && ` · ${one.endpoint}`),
    one.topic && h("p", null, t("dialogues.topic"), ": ", marked(one.topic)),
    one.topics && h("p", { class: "tags topics" }, h("span", null, t("dialogues.topics")), one.topics.map((name) => h("span", { class: "tag" + (inCrisis(name) ? " crisis" : "") }, marked(topicNamed(name)))), one.crisis && !one.topics.some(inCrisis) && h("span", { class: "tag crisis" }, t("topics.crisis"))));
  const chat = one.said.length ? h("ol", { class: "chat" }, one.said.map(bubble)) : h("p", { class: "note" }, t("dialogues.empty"));
  const pair = one.pair && h("details", { class: "pair" }, h("summary", null, t("dialogues.pair")), h("dl", null, ["question", "description", "answer"].map((name, place) => one.pair[place] && [h("dt", null, t("dialogues." + name)), h("dd", { dir: "auto" }, marked(one.pair[place]))])));
  return h("article", { class: "pane", tabindex: "-1", "aria-label": `${named(one.reason)} ${one.id}` }, head, chat, one.cut && h("p", { class: "note apart" }, t("dialogues.cut", { n: count(one.cut) })), pair);
}
const SHOWN = 12; // at first on a telephone, where the list does not scroll by itself
const narrow = window.matchMedia("screen and (max-width: 900px)");
function browse(list, view, told) {
  const found = matching();
  state.chosen = Math.max(0, Math.min(state.chosen, found.length - 1));
  const names = state.reason ? [state.reason] : [];
  told.textContent = t("dialogues.found", { n: count(found.length), told: names.map(drawnOf).join(state.lang ? "；" : "; ") });
  const choose = (place, focus) => {
    state.chosen = place;
    for (const old of list.querySelectorAll(".pane")) old.remove();
    list.querySelectorAll(":scope > li > button").forEach((button, at) => { if (at === place) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current"); });
    const open = pane(found[place]), move = (by) => choose(place + by, true);
    open.append(h("p", { class: "pager" }, h("button", { type: "button", class: "plain", disabled: place === 0, click: () => move(-1) }, t("dialogues.previous")), h("button", { type: "button", class: "plain", disabled: place === found.length - 1, click: () => move(1) }, t("dialogues.next"))));
    if (narrow.matches && place >= list.querySelectorAll(":scope > li:not(.more)").length) { state.shown = place + SHOWN; browse(list, view, told); }
    const item = list.children[place];
    if (narrow.matches) { view.replaceChildren(); item.append(open); } else view.replaceChildren(open);
    if (focus) { (narrow.matches ? item : open).scrollIntoView({ block: narrow.matches ? "start" : "nearest" }); open.focus({ preventScroll: true }); }
    if (focus && !narrow.matches) list.scrollTop = Math.max(0, item.offsetTop - list.clientHeight / 3);
  };
  const most = narrow.matches ? Math.max(state.shown, state.chosen + 1) : found.length;
  list.replaceChildren(...found.slice(0, most).map((one, place) => {
    const first = one.said.find(([, words]) => words) || ["", t("dialogues.empty")];
    return h("li", null, h("button", { type: "button", click: () => choose(place, narrow.matches) }, h("span", { class: "meta" }, tag(one.reason), h("span", null, t("dialogues.n", { turns: count(turnsOf(one)), chars: count(charactersOf(one)) }))), h("span", { class: "snippet", dir: "auto" }, marked(first[1].slice(0, 160)))));
  }));
  if (most < found.length) list.append(h("li", { class: "more" }, h("button", { type: "button", class: "plain", click: () => { state.shown = most + 2 * SHOWN; browse(list, view, told); list.querySelectorAll(":scope > li > button")[most].focus(); } }, t("dialogues.more", { n: count(found.length - most) }))));
  if (!found.length) { list.replaceChildren(h("li", { class: "none" }, t("dialogues.nothing"))); view.replaceChildren(); return; }
  if (narrow.matches) view.replaceChildren(); else choose(state.chosen, false);
}
function dialoguesSection() {
  if (!data.samples.rows.length) return null;
  const list = h("ol", { class: "list", "aria-label": t("dialogues.list") }), view = h("div", { class: "view" }), told = h("p", { class: "told", role: "status" });
  const again = () => { state.chosen = 0; state.shown = SHOWN; browse(list, view, told); };
  const reasons = [...new Set(data.samples.rows.map((one) => one.reason))];
  const field = (name, attributes) => h("input", { ...attributes, value: state[name], input: (event) => { state[name] = event.target.value; again(); } });
  const select = h("select", { id: "reason", change: (event) => { state.reason = event.target.value; again(); } }, h("option", { value: "" }, t("dialogues.every")), reasons.map((reason) => h("option", { value: reason, selected: reason === state.reason }, drawnOf(reason))));
  const filters = h("form", { class: "filters", role: "search", submit: (event) => event.preventDefault() },
    h("div", { class: "wide" }, h("label", { for: "search" }, t("dialogues.search")), field("text", { id: "search", type: "search", placeholder: t("dialogues.search.hint"), autocomplete: "off" })),
    h("div", { class: "wide" }, h("label", { for: "reason" }, t("dialogues.reason")), select),
    h("fieldset", null, h("legend", null, t("dialogues.turns")), h("div", null, field("from", { type: "number", min: 0, "aria-label": `${t("dialogues.turns")}: ${t("dialogues.from")}`, placeholder: t("dialogues.from") }), "–", field("to", { type: "number", min: 0, "aria-label": `${t("dialogues.turns")}: ${t("dialogues.to")}`, placeholder: t("dialogues.to") }))),
    h("button", { type: "button", class: "plain", click: () => { Object.assign(state, { text: "", reason: "", from: "", to: "", chosen: 0 }); refresh("dialogues", dialoguesSection); } }, t("dialogues.clear")));
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key], buttons = [...list.querySelectorAll(":scope > li > button")], at = buttons.indexOf(document.activeElement);
    if (step && at >= 0 && buttons[at + step]) { event.preventDefault(); buttons[at + step].focus(); }
  });
  browse(list, view, told);
  return section("dialogues", t("dialogues.title"), t("dialogues.lead", { seed: data.samples.seed }), filters, told, h("div", { class: "reader" }, list, view));
}

const SECTIONS = { asked: askedSection, rates: ratesSection, rejections: rejectionsSection, shape: shapeSection, diversity: diversitySection, topics: topicsSection, dialogues: dialoguesSection };
function refresh(id, make) {
  const old = document.getElementById(id), active = old.contains(document.activeElement) ? document.activeElement.textContent : null;
  const made = make();
  old.replaceWith(made);
  if (active) [...made.querySelectorAll("button")].find((button) => button.textContent === active)?.focus();
}
function pick(label, choices, chosen, choose) {
  return h("div", { class: "pick", role: "group", "aria-label": label }, choices.map(([value, words, title, lang]) => h("button", { type: "button", title, lang, "aria-pressed": String(value === chosen), "data-choice": value, click: () => choose(value) }, words)));
}
function logo() {
  return s("svg", { viewBox: "0 0 22 22", "aria-hidden": "true" }, s("path", { d: "M3 2h16a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2h-7l-5 4.5V16H3a2 2 0 0 1-2-2V4a2 2 0 0 1 2-2z", fill: "var(--accent-2)" }), s("path", { d: "M6.6 8.6c1 2.7 7.800 2.700 8.800 0", fill: "none", stroke: "#fff", "stroke-width": "1.9", "stroke-linecap": "round" }));
}
function top(ids) {
  const languages = data.languages.length > 1 && pick(t("language"), [[0, "EN", "English", "en"], [1, "中", "中文", "zh"]], state.lang, (value) => { state.lang = value; render("language", value); });
  const themes = pick(t("theme"), [["light", "☀", t("theme.light")], ["auto", "A", t("theme.auto")], ["dark", "☾", t("theme.dark")]], state.theme, (value) => { state.theme = value; document.documentElement.dataset.theme = value; render("theme", value); });
  return h("div", { class: "bar" }, h("div", null, h("span", { class: "brand" }, logo(), "SMILE"), h("nav", { "aria-label": t("nav") }, h("ul", null, ids.map((id) => h("li", null, h("a", { href: "#" + id }, t("nav." + id)))))), h("div", { class: "switches" }, languages, themes)));
}
function render(focused, choice) {
  document.documentElement.lang = state.lang ? "zh-CN" : "en";
  drawn.length = 0; watch.disconnect();
  const place = window.scrollY, main = h("main", { id: "main" }, hero()), ids = [];
  for (const [id, make] of Object.entries(SECTIONS)) { const made = make(); if (made) { main.append(made); ids.push(id); } }
  main.append(h("footer", null, h("p", null, t("footer", { version: data.version }), data.samples.rows.length > 0 && " " + t("footer.quotes"))));
  document.body.replaceChildren(h("a", { class: "skip", href: "#main" }, t("skip")), top(ids), main);
  window.scrollTo({ top: place, behavior: "instant" });
  spy(ids);
  if (focused) document.querySelector(`.pick[aria-label="${t(focused)}"] [data-choice="${choice}"]`).focus({ preventScroll: true });
}
let seen = null;
function spy(ids) {
  if (seen) seen.disconnect();
  seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) for (const link of document.querySelectorAll(".bar nav a")) {
      if (link.hash === "#" + entry.target.id) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-30% 0px -65% 0px" });
  for (const id of ids) seen.observe(document.getElementById(id));
}
state.lang = data.languages.length > 1 ? Number((navigator.language || "").toLowerCase().startsWith("zh")) : data.languages[0];
document.documentElement.dataset.theme = "auto";
narrow.addEventListener("change", () => { if (document.getElementById("dialogues")) refresh("dialogues", dialoguesSection); });
window.addEventListener("beforeprint", () => { redraw((box) => (box.closest(".two:not(.single)") ? 310 : 640)); });
window.addEventListener("afterprint", () => { redraw((box) => Math.floor(box.getBoundingClientRect().width)); });
render();
