"use strict";
// Small tools: every text becomes a text node, so that nothing a model wrote is ever read as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const state = { lang: 0, endpoint: 0, reason: "", text: "", from: "", to: "", chosen: 0, shown: 12, theme: "auto" };

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Words and numbers in the reader's language.
function has(key) { return Object.hasOwn(data.words, key); }
function t(key, values) {
  const found = has(key) ? data.words[key][state.lang] : key;
  return found.replace(/\{(\w+)\}/g, (whole, name) => (values && name in values ? String(values[name]) : whole));
}
const code = (word) => (has("code." + word) ? t("code." + word) : String(word));
const why = (word) => (has("why." + word) ? t("why." + word) : String(word));
const locale = () => (state.lang === 1 ? "zh-CN" : "en-US");
const formats = new Map();
function formatted(value, options) {
  const key = locale() + JSON.stringify(options);
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(locale(), options));
  return formats.get(key).format(value);
}
const count = (value) => formatted(value, { maximumFractionDigits: 0 });
const number = (value, digits) => formatted(value, { minimumFractionDigits: 0, maximumFractionDigits: digits });
const short = (value) => formatted(value, { notation: "compact", maximumSignificantDigits: 3 });
const percent = (value, digits = 1) => formatted(value, { style: "percent", maximumFractionDigits: digits });
const usd = (value) => "$" + formatted(value, value !== 0 && Math.abs(value) < 1 ? { minimumFractionDigits: 2, maximumFractionDigits: 4 } : { minimumFractionDigits: 2, maximumFractionDigits: 2 });
function clockTime(seconds) {
  const all = Math.round(seconds), hours = Math.floor(all / 3600), two = (part) => String(part).padStart(2, "0");
  return hours ? `${hours}:${two(Math.floor(all / 60) % 60)}:${two(all % 60)}` : `${Math.floor(all / 60)}:${two(all % 60)}`;
}
function span(seconds) {
  const unit = seconds < 60 ? "second" : seconds < 3600 ? "minute" : "hour";
  const size = { second: 1, minute: 60, hour: 3600 }[unit];
  return formatted(seconds / size, { style: "unit", unit, unitDisplay: "long", maximumFractionDigits: 1 });
}
const moment = (at) => new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeStyle: "short" }).format(at * 1000);
const sum = (values) => values.reduce((total, value) => total + value, 0);

// Tables. `kind` of a column says how its cells read.
function cell(column, value) {
  if (value === null || value === undefined) return "";
  if (column.kind === "code") return code(value);
  if (column.kind === "count") return count(value);
  if (column.kind === "share") return percent(value, column.digits);
  if (column.kind === "usd") return usd(value);
  if (column.kind === "amount") return Number.isInteger(value) ? count(value) : formatted(value, { minimumFractionDigits: column.digits, maximumFractionDigits: column.digits });
  if (column.kind === "number") return column.key === "second" ? clockTime(value) : formatted(value, { minimumFractionDigits: column.digits, maximumFractionDigits: column.digits });
  return column.key === "reason" ? why(value) : String(value);
}
function table(found, caption) {
  const isText = (column) => column.kind === "text" || column.kind === "code";
  const kept = found.columns.map((column, place) => place).filter((place) => found.rows.some((row) => row[place] !== null && row[place] !== ""));
  const columns = kept.map((place) => found.columns[place]);
  const head = h("tr", null, columns.map((column) => h("th", { scope: "col", class: isText(column) ? null : "n" }, has("c." + column.key) ? t("c." + column.key) : column.key)));
  const body = found.rows.map((row) => h("tr", null, columns.map((column, place) => {
    const text = cell(column, row[kept[place]]);
    if (place === 0) return h("th", { scope: "row", class: isText(column) ? null : "n" }, text);
    return h("td", { class: isText(column) ? (column.key === "detail" ? "text detail" : column.key === "reason" ? "text" : null) : "n" }, text);
  })));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", null, h("caption", { class: "hidden" }, caption), h("thead", null, head), h("tbody", null, body)));
}
function behind(name, caption, label) {
  const found = data.tables[name];
  return found ? h("details", { class: "behind" }, h("summary", null, label || t("table")), table(found, caption)) : null;
}
