// The page's sections, from top to bottom. Each gives a section or nothing.
const run = data.run, status = run && run.status;
const PALETTE = ["p0", "p1", "p2", "p3", "p4"];

function section(id, title, lead, ...content) {
  return h("section", { id, "aria-labelledby": id + "-title" }, h("h2", { id: id + "-title" }, title), lead && h("p", { class: "said" }, lead), content);
}
function card(title, note, ...content) { return h("div", { class: "card" }, h("h3", null, title), note && h("p", { class: "note" }, note), content); }

function hero() {
  const kind = h("span", null, t(run ? "brand.run" : "brand.corpus"));
  const told = run ? [h("span", { class: "state " + status.state }, t("state." + status.state)), status.reason && h("span", null, t("stopped.by", { reason: code(status.reason) }))] : null;
  return h("header", { class: "hero" }, h("p", { class: "eyebrow" }, kind, told, h("span", null, t("made", { when: moment(data.made) }))),
    h("h1", { dir: "auto" }, data.name), h("p", { class: "lead" }, lead()), run && ends(), keys());
}
function lead() {
  if (!run) return t("lead.corpus", { dialogues: count(data.shape.dialogues), utterances: count(data.shape.utterances) });
  const rows = status.rows, open = !rows.total_is_exact && rows.expected > rows.total;
  const values = { accepted: count(rows.accepted), total: count(rows.total), aside: count(rows.set_aside), expected: count(rows.expected || 0) };
  if (!open) values.aside = rows.set_aside ? t("lead.aside", values) : t("lead.none");
  let told = t(open ? "lead.open" : data.shape ? "lead.run" : "lead.task", values);
  if (rows.pending && !open) told += t("lead.pending", { pending: count(rows.pending) });
  return told;
}
function ends() {
  const rows = status.rows, reasons = Object.entries(status.reasons), most = reasons.slice(0, 4), rest = sum(reasons.slice(4).map(([, n]) => n));
  const parts = [["accepted", rows.accepted, "p0"], ...most.map(([reason, n], place) => [reason, n, PALETTE[Math.min(place + 1, 4)]])];
  if (rest) parts.push([null, rest, "p4"]);
  const left = Math.max(rows.total_is_exact ? 0 : rows.expected || 0, rows.total) - rows.accepted - rows.set_aside;
  if (left) parts.push(["pending", left, "p5"]);
  const bar = h("div", { class: "stack", role: "img", "aria-label": parts.map(([name, n]) => `${name ? code(name) : t("others")} ${n}`).join(", ") },
    parts.map(([name, n, cls]) => { const part = h("i", { class: cls, title: `${name ? code(name) : t("others")}: ${count(n)}` }); part.style.flexGrow = n; return part; }));
  return [bar, h("ul", { class: "legend" }, parts.map(([name, n, cls]) => h("li", null, h("i", { class: cls }), name ? code(name) : t("others"), h("b", null, count(n)))))];
}
function keys() {
  const told = [], shape = data.shape, key = (name, value, sub) => told.push(h("div", null, h("dt", null, name), h("dd", { class: "n" }, value), h("dd", { class: "sub" }, sub)));
  if (run) {
    const rows = status.rows, ended = rows.accepted + rows.set_aside, tokens = status.tokens, money = status.money;
    key(t(shape ? "key.dialogues" : "key.answers"), count(rows.accepted), ended ? t("key.dialogues.sub", { share: percent(rows.accepted / ended) }) : "");
    key(t("key.spent"), usd(money.settled_usd), money.settled_usd ? (rows.accepted ? t("key.spent.sub", { each: usd((1000 * money.settled_usd) / rows.accepted) }) : "") : t("key.spent.none"));
    key(t("key.tokens"), short(tokens.prompt + tokens.completion), t("key.tokens.sub", { prompt: short(tokens.prompt), completion: short(tokens.completion) }));
    if (run.timeline) key(t("key.time"), clockTime(run.timeline.seconds), t("key.time.sub", { rate: count((60 * status.replies) / run.timeline.seconds) }));
  } else {
    key(t("key.dialogues"), count(shape.dialogues), "");
    key(t("key.utterances"), count(shape.utterances), shape.dialogues ? t("key.utterances.sub", { mean: number(shape.utterances / shape.dialogues, 1) }) : "");
  }
  if (shape && shape.dialogues) {
    key(t("key.turns"), number(shape.turns.q50, 1), t("key.turns.sub", { low: number(shape.turns.q05, 0), high: number(shape.turns.q95, 0) }));
    if (!run) key(t("key.length"), count(shape.length.q50), t("key.length.sub", { low: count(shape.length.q05), high: count(shape.length.q95) }));
    if (!run) key(t("key.share"), percent(shape.shares.q50, 0), t("key.share.sub"));
  }
  return h("dl", { class: "keys" }, told);
}

function askedSection() {
  if (!run) return null;
  const shown = (name, value) => (name === "rules" || name === "salvage" ? String(value).split(", ").map((one) => h("span", { class: "tag" }, code(one))) : typeof value === "number" ? number(value, 2) : value);
  const wide = ["source", "about", "rules", "salvage"];
  const fact = ([name, value]) => h("div", { class: wide.includes(name) ? "wide" : null }, h("dt", null, has("a." + name) ? t("a." + name) : name), h("dd", null, shown(name, value)));
  const facts = h("dl", { class: "facts" }, Object.entries(run.asked).map(fact));
  const money = status.money, entry = (name, value, big) => h("li", { class: big ? "big" : null }, h("span", null, name), h("b", null, value));
  const spent = h("ul", { class: "sums" }, entry(t("money.settled"), usd(money.settled_usd), true), entry(t("money.reserved"), usd(money.reserved_usd)), entry(t("money.perhaps"), usd(money.perhaps_usd)));
  const attempts = h("ul", { class: "sums" }, ["settled", "refunded", "unknown", "reserved"].map((name) => entry(t("attempts." + name), count(money.attempts[name]))));
  const budget = run.asked.budget ? t("money.of", { budget: usd(run.asked.budget) }) : null;
  const prompt = run.prompt.some(Boolean) && h("details", { class: "apart" }, h("summary", null, t("asked.prompt")),
    [["asked.system", run.prompt[0]], ["asked.user", run.prompt[1]]].filter(([, words]) => words).map(([name, words]) => [h("p", { class: "note" }, t(name)), h("pre", { dir: "auto", tabindex: "0" }, words)]));
  return section("asked", t("asked.title"), t("asked.lead"),
    h("div", { class: "grid two uneven" }, card(t("asked.settings"), null, facts, prompt), h("div", { class: "card" }, h("h3", null, t("asked.money")), budget && h("p", { class: "note" }, budget), spent, h("h3", { class: "apart" }, t("asked.attempts")), attempts, h("p", { class: "note apart" }, t("money.note")))),
    data.tables.endpoints && h("div", { class: "grid" }, card(t("asked.endpoints"), null, table(data.tables.endpoints, t("asked.endpoints")))));
}

function ratesSection() {
  const found = run && run.timeline;
  if (!found) return null;
  const one = found.endpoints[Math.min(state.endpoint, found.endpoints.length - 1)];
  const choose = found.endpoints.length > 1 && h("div", { class: "pick", role: "group", "aria-label": t("rates.endpoint") }, found.endpoints.map((each, place) =>
    h("button", { type: "button", "aria-pressed": String(each === one), click: () => { state.endpoint = place; refresh("rates", ratesSection); } }, each.name)));
  const times = (value, factor) => (value === null ? null : value * factor);
  const kindOf = { requests: "requests", tokens: "tokens", input: "input tokens", output: "output tokens" };
  const minute = (what) => one.steps.filter((step) => step.what === `${kindOf[what]} a minute` || step.what === `${kindOf[what]} a second`)
    .map((step) => (step.what.endsWith("second") ? { ...step, what: `${kindOf[what]} a minute`, before: times(step.before, 60), after: times(step.after, 60) } : step));
  const limited = (what) => what in one.limits || minute(what).length > 0;
  const pace = (what) => {
    const steps = minute(what), label = t("rates." + what), limit = what in one.limits ? one.limits[what] : null;
    const parts = what === "tokens" ? ["input", "output"] : [];
    const told = (at) => [[t("rates.peak"), count(one[what].peak[at])], ...parts.map((part) => [t("rates.of." + part), count(one[part].peak[at])]), [t("rates.mean"), count(one[what].mean[at])]];
    return h("div", { class: "card" }, h("h3", null, label), legend(steps, limit !== null),
      overTime({ found, label: `${label}, ${one.name}: ${t("rates.most")} ${count(Math.max(...one[what].peak))}`, area: one[what].mean, ridge: one[what].peak, limit, steps, marks: steps, tell: told }));
  };
  const day = (what) => {
    const kind = what.replace("-day", ""), steps = one.steps.filter((step) => step.what === `${kind} a day`), label = t("rates." + what), limit = one.limits[what] ?? null;
    return h("div", { class: "card" }, h("h3", null, label), legend(steps, limit !== null, true),
      overTime({ found, label: `${label}, ${one.name}: ${t("rates.most")} ${count(Math.max(...one.days[what]))}`, area: one.days[what], ridge: one.days[what], limit, steps, marks: steps, tell: (at) => [[t("rates.most"), count(one.days[what][at])]] }));
  };
  const flights = one.steps.filter((step) => step.what === "in-flight"), label = t("rates.in-flight");
  const flying = h("div", { class: "card" }, h("h3", null, label), legend(flights, "in-flight" in one.limits, true),
    overTime({ found, label: `${label}, ${one.name}: ${t("rates.most")} ${Math.max(...one.in_flight)}`, area: one.in_flight, ridge: one.in_flight, whole: true, limit: one.limits["in-flight"] ?? null, steps: flights, marks: flights, tell: (at) => [[t("rates.most"), count(one.in_flight[at])]] }));
  const kinds = ["accepted", "rejected", "failed"], wider = coarser(found, 72), scaled = kinds.map((kind) => ({ values: wider.ends[kind].map((n) => (n * 60) / wider.width) }));
  const outcomes = h("div", { class: "card" }, h("h3", null, t("rates.ends"), found.endpoints.length > 1 && ` · ${t("rates.ends.all")}`), h("p", { class: "keyline" }, kinds.map((kind, place) => h("span", null, h("i", { class: `k-${place + 1}` }), code(kind)))),
    overTime({ found: wider, label: t("rates.ends"), stacks: scaled, tell: (at) => kinds.map((kind, place) => [code(kind), count(scaled[place].values[at])]) }));
  return section("rates", t("rates.title"), t("rates.lead", { width: span(found.width) }) + (found.cuts.length ? " " + t("rates.cuts") : ""),
    choose && h("div", { class: "apart" }, choose), h("div", { class: "grid two" }, pace("requests"), pace("tokens"), ["input", "output"].filter(limited).map(pace), Object.keys(one.days).map(day), flying, outcomes),
    h("p", { class: "note keys-note apart" }, t("rates.keys")), data.tables.changes && behind("changes", t("rates.title"), t("rates.changes", { n: count(data.tables.changes.rows.length) })), behind("rates", t("rates.title"), t("rates.table")));
}
function legend(steps, limit, plain) {
  const part = (cls, words) => h("span", null, h("i", { class: cls }), words);
  return h("p", { class: "keyline" }, plain ? part("k-area", t("rates.most")) : [part("", t("rates.peak")), part("k-area", t("rates.mean"))], (limit || steps.some(isNamed)) && part("k-limit", t("rates.limit")), !steps.every(isNamed) && part("k-found", t("rates.found")));
}

function bars(rows, cls, most) {
  const top = most || Math.max(1, ...rows.map((row) => row.n));
  return h("ul", { class: "bars " + (cls || "") }, rows.map((row) => {
    const bar = h("i"); bar.style.width = (100 * row.n) / top + "%";
    return h("li", { class: row.cls || null }, h("span", null, row.press ? h("button", { type: "button", title: t("rejections.show"), click: row.press }, row.name) : row.name, row.tag && [" ", h("span", { class: "tag crisis" }, row.tag)]), h("span", { class: "track", "aria-hidden": "true" }, bar), h("span", { class: "n" }, row.told || count(row.n)));
  }));
}
function rejectionsSection() {
  if (!run) return null;
  const replies = (data.tables.replies ? data.tables.replies.rows : []).filter(([verdict]) => verdict !== "accepted"), all = status.replies;
  const rejected = sum(replies.map((row) => row[1])), failures = Object.entries(status.failures), failed = sum(failures.map(([, n]) => n));
  const drawn = (reason) => data.samples.rows.some((one) => one.reason === reason);
  const look = (reason) => (drawn(reason) ? () => { Object.assign(state, { reason, text: "", from: "", to: "", chosen: 0 }); refresh("dialogues", dialoguesSection); document.getElementById("dialogues").scrollIntoView(); } : null);
  const none = () => h("p", { class: "note apart" }, t("rejections.none"));
  const aside = Object.entries(status.reasons).map(([reason, n]) => ({ name: code(reason), n, press: look(reason) }));
  const salvage = data.tables.salvage ? data.tables.salvage.rows.map(([step, tried, good]) => ({ name: code(step), n: good, told: step in status.amended ? t("accepted.of", { good: count(good), n: count(tried) }) : null })) : [];
  return section("rejections", t("rejections.title"), t("rejections.lead"), h("div", { class: "grid two" },
    card(t("rejections.replies"), t("rejections.replies.sub", { n: count(rejected), of: count(all), share: percent(all ? rejected / all : 0) }), replies.length ? bars(replies.map(([verdict, n]) => ({ name: code(verdict), n, press: look(verdict) }))) : none()),
    card(t("rejections.failures"), t("rejections.failures.sub", { n: count(failed), of: count(status.attempts), share: percent(status.attempts ? failed / status.attempts : 0) }), failed ? bars(failures.map(([kind, n]) => ({ name: code(kind), n })), "failures") : none(), behind("failures", t("rejections.failures"), t("table.failures"))),
    card(t("rejections.aside"), null, aside.length ? bars(aside) : none(), behind("rows", t("rejections.aside"))),
    salvage.length > 0 && card(t("rejections.salvage"), t("rejections.salvage.sub"), bars(salvage, "good"))));
}

function beyond(values) { const out = values.count - sum(values.histogram.counts); return out > 0 ? t("shape.beyond", { n: count(out) }) : null; }
function shapeSection() {
  const shape = data.shape;
  if (!shape || !shape.dialogues) return null;
  const speakers = ["client", "counselor"];
  const said = (name) => `${name}: ${t("shape.median", { n: number(shape[name === t("shape.turns") ? "turns" : "length"].q50, 1) })}`;
  return section("shape", t("shape.title"), t("shape.lead"), h("div", { class: "grid two" },
    card(t("shape.turns"), beyond(shape.turns) || t("shape.all", { n: count(shape.turns.count) }), histogram({ series: [{ values: shape.turns, label: t("c.dialogues") }], label: said(t("shape.turns")), axis: count, center: true }), behind("turns", t("shape.turns"))),
    card(t("shape.length"), beyond(shape.length) || t("shape.all", { n: count(shape.length.count) }), histogram({ series: [{ values: shape.length, label: t("c.dialogues") }], label: said(t("shape.length")), axis: count }), behind("dialogue-lengths", t("shape.length"))),
    h("div", { class: "card" }, h("h3", null, t("shape.utterances")), h("p", { class: "keyline" }, speakers.map((name) => h("span", null, h("i", { class: "k-" + name }), `${t(name)} · ${t("shape.median", { n: number(shape[name].q50, 1) })}`)), beyond({ count: shape.client.count + shape.counselor.count, histogram: { counts: [...shape.client.histogram.counts, ...shape.counselor.histogram.counts] } })),
      histogram({ series: speakers.map((name) => ({ values: shape[name], label: t(name), cls: name })), label: t("shape.utterances"), axis: count, medians: false }), behind("utterance-lengths", t("shape.utterances"))),
    card(t("shape.shares"), t("shape.median", { n: percent(shape.shares.q50, 0) }), histogram({ series: [{ values: shape.shares, label: t("c.dialogues"), cls: "bar-1" }], label: t("shape.shares"), axis: (edge) => percent(edge, 0), medians: false }))),
    h("div", { class: "grid" }, data.tables.statistics && card(t("table.statistics"), null, table(data.tables.statistics, t("table.statistics"))), data.tables.shape && card(t("table.shape"), null, table(data.tables.shape, t("table.shape")))));
}

function diversitySection() {
  if (!data.figures.length && !data.tables.diversity) return null;
  const names = { own: "counselor", other: "client", pairs: "counselor" };
  const figures = data.figures.map((one) => {
    const series = one.curves.map((curve, place) => ({ values: curve.values, label: has(curve.name) ? t(curve.name) : curve.name, cls: one.curves.length > 1 ? names[curve.name] || ["counselor", "client"][place % 2] : "bar-1" }));
    return h("div", { class: "card" }, h("h3", null, t("figure." + one.name)), h("p", { class: "keyline" }, series.map((each) => h("span", null, h("i", { class: each.cls === "client" ? "k-client" : "k-counselor" }), `${each.label} · ${t("shape.median", { n: number(each.values.q50, 3) })}`))),
      histogram({ series, label: t("figure." + one.name), axis: (edge) => number(edge, 3), medians: false, upright: one.line === null ? null : { at: one.line, label: t("figure.line", { n: number(one.line, 4) }) } }));
  });
  return section("diversity", t("diversity.title"), t("diversity.lead"), figures.length > 0 && h("div", { class: "grid two" + (figures.length === 1 ? " single" : "") }, figures),
    h("div", { class: "grid" }, ["diversity", "cosines"].filter((name) => data.tables[name]).map((name) => card(t("table." + name), null, table(data.tables[name], t("table." + name))))));
}
function topicsSection() {
  const topics = data.topics;
  if (!topics) return null;
  const row = (one) => ({ name: state.lang ? one.zh : one.en, n: one.n, told: percent(one.n / Math.max(topics.of, 1)), cls: one.crisis ? "crisis" : null, tag: one.crisis ? t("topics.crisis") : null });
  const most = Math.max(1, ...topics.shares.map((one) => one.n)), first = topics.shares.slice(0, 20), half = Math.ceil(first.length / 2);
  const rest = topics.shares.length > first.length && h("details", { class: "behind" }, h("summary", null, t("topics.all", { n: count(topics.shares.length) })), bars(topics.shares.map(row), "topics", most));
  return section("topics", t("topics.title"), t("topics.lead", { n: count(topics.shares.length), of: count(topics.of) }),
    h("div", { class: "grid" }, h("div", { class: "card" }, h("div", { class: "two topics-two" }, bars(first.slice(0, half).map(row), "topics", most), bars(first.slice(half).map(row), "topics", most)), rest),
      data.tables.entropy && card(t("table.entropy"), null, table(data.tables.entropy, t("table.entropy")))));
}
