// Charts as SVG in the width that there is, so that their words keep their size; drawn anew when the width changes.
const drawn = [];
const watch = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const found = drawn.find((one) => one.box === entry.target);
    const width = Math.floor(entry.contentRect.width);
    if (found && width > 0 && Math.abs(found.width - width) > 1) { found.width = width; found.box.replaceChildren(...found.draw(width)); }
  }
});
function chart(draw) {
  const box = h("div", { class: "chart" });
  drawn.push({ box, draw, width: 0 });
  watch.observe(box);
  return box;
}
function redraw(width) {
  for (const one of drawn) one.box.replaceChildren(...one.draw(width(one.box)));
}
function ticks(most, about, whole) {
  if (!(most > 0)) return [0, 1];
  const raw = whole ? Math.max(most / about, 1) : most / about, size = 10 ** Math.floor(Math.log10(raw));
  const step = (whole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).map((factor) => factor * size).find((one) => one >= raw * 0.999);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, place) => place * step);
}
const DURATIONS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800];
const line = (x1, y1, x2, y2, cls) => s("line", { x1, y1, x2, y2, class: cls });
const text = (x, y, anchor, words, cls) => s("text", { x, y, "text-anchor": anchor, class: cls }, words);
const path = (points) => points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// A frame: grid, scale at the left, and a tip that follows the pointer or the arrow keys from place to place.
function frame({ width, height, top, most, label, places, left, tell, format, whole = false }) {
  const scale = ticks(most, height > 150 ? 5 : 3, whole), highest = scale[scale.length - 1];
  const box = { left, right: width - 6, top, bottom: height - 24 };
  const y = (value) => box.bottom - (value / highest) * (box.bottom - box.top);
  const root = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label, tabindex: "0" });
  for (const one of scale) {
    root.append(line(box.left, y(one), box.right, y(one), one === 0 ? "axis" : "grid-line"), text(box.left - 8, y(one) + 4, "end", format(one)));
  }
  const tip = h("div", { class: "tip", role: "status" });
  const hover = line(0, box.top, 0, box.bottom, "hover"), band = s("rect", { y: box.top, height: box.bottom - box.top, class: "band" });
  let at = -1;
  const show = (place) => {
    at = Math.max(0, Math.min(places.length - 1, place));
    const [from, to] = places[at], middle = (from + to) / 2, wide = to - from > 6;
    hover.setAttribute("x1", middle); hover.setAttribute("x2", middle); hover.classList.toggle("on", !wide);
    band.setAttribute("x", from); band.setAttribute("width", Math.max(to - from, 0)); band.classList.toggle("on", wide);
    tip.replaceChildren(...tell(at).map((row) => (Array.isArray(row) ? h("p", null, h("span", null, row[0]), h("b", null, row[1])) : h("p", { class: "wide" }, row))));
    tip.classList.add("on");
    const scaleBy = root.clientWidth / width || 1, wideTip = tip.offsetWidth;
    const x = middle * scaleBy, room = root.clientWidth;
    tip.style.transform = `translate(${Math.max(0, x + 14 + wideTip > room ? x - wideTip - 14 : x + 14)}px, ${box.top * scaleBy}px)`;
  };
  const hide = () => { tip.classList.remove("on"); hover.classList.remove("on"); band.classList.remove("on"); };
  root.addEventListener("pointermove", (event) => {
    const bounds = root.getBoundingClientRect(), x = ((event.clientX - bounds.left) / bounds.width) * width;
    const found = places.findIndex(([from, to]) => x >= from && x < to);
    if (found >= 0) show(found); else hide();
  });
  root.addEventListener("pointerleave", hide); root.addEventListener("blur", hide);
  root.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); show(at < 0 ? 0 : at + step); } else if (event.key === "Escape") hide();
  });
  return { root, box, y, tip, finish: () => { root.append(band, hover); return [h("figure", null, root, tip)]; } };
}

// Histograms: one as bars, two and more as steps over each other. `line` is an upright with a word.
function histogram({ series, label, format = count, axis = (edge) => number(edge, 2), upright = null, medians = true, height = 220, center = false }) {
  return chart((width) => {
    const all = series.map((one) => one.values.histogram), edges = all[0].edges, total = series.map((one) => sum(one.values.histogram.counts) || 1);
    const several = series.length > 1, share = (one, place) => (several ? all[one].counts[place] / total[one] : all[one].counts[place]);
    let first = 0, last = edges.length - 2;
    while (first < last && all.every((one) => one.counts[first] === 0) && !(upright && upright.at >= edges[first] && upright.at < edges[first + 1])) first += 1;
    while (last > first && all.every((one) => one.counts[last] === 0)) last -= 1;
    const bins = Array.from({ length: last - first + 1 }, (_, place) => first + place);
    const most = Math.max(...bins.map((place) => Math.max(...series.map((_, one) => share(one, place)))));
    const left = 50, x = (edge) => left + ((edge - edges[first]) / (edges[last + 1] - edges[first])) * (width - 6 - left);
    const places = bins.map((place) => [x(edges[place]), x(edges[place + 1])]);
    const named = (place) => (edges[place + 1] - edges[place] === 1 ? axis(edges[place]) : `${axis(edges[place])} – ${axis(edges[place + 1])}`);
    const made = frame({ width, height, top: medians || upright ? 24 : 10, most, label, places, left, whole: !several, format: several ? (value) => percent(value, 1) : short,
      tell: (at) => [named(bins[at]), ...series.map((one, place) => [one.label, several ? `${format(all[place].counts[bins[at]])} · ${percent(share(place, bins[at]))}` : format(all[place].counts[bins[at]])])] });
    const { root, box, y } = made;
    series.forEach((one, place) => {
      if (!several) {
        bins.forEach((bin, at) => {
          const [from, to] = places[at], gap = to - from > 5 ? 1 : 0;
          if (all[place].counts[bin]) root.append(s("rect", { x: from + gap, width: Math.max(to - from - 2 * gap, 0.5), y: y(share(place, bin)), height: Math.max(box.bottom - y(share(place, bin)), 0.75), rx: gap ? 2 : 0, class: one.cls || "bar-1" }));
        });
      } else if (sum(all[place].counts)) {
        const own = bins.map((bin, at) => at).filter((at) => all[place].counts[bins[at]]), from = own[0], to = own[own.length - 1] + 1; // no line where there is nothing
        const points = [[places[from][0], box.bottom], ...bins.slice(from, to).flatMap((bin, at) => [[places[from + at][0], y(share(place, bin))], [places[from + at][1], y(share(place, bin))]]), [places[to - 1][1], box.bottom]];
        root.append(s("path", { d: path(points), class: one.cls }));
      }
    });
    const room = Math.max(1, Math.ceil(bins.length / Math.max(2, Math.floor((width - left) / (center ? 30 : 56)))));
    const step = [1, 2, 4, 5, 10, 20, 25, 40, 50, 100].find((one) => one >= room) || room;
    bins.forEach((bin, at) => {
      if (Math.round(edges[bin] / (edges[1] - edges[0])) % step === 0) root.append(text(center ? (places[at][0] + places[at][1]) / 2 : places[at][0], height - 6, "middle", axis(edges[bin])));
    });
    if (medians && !several && Number.isFinite(series[0].values.q50)) {
      const median = series[0].values.q50, at = x(median + (center ? 0.5 : 0)), end = at > width - 120;
      root.append(line(at, box.top - 8, at, box.bottom, "median"), text(at + (end ? -6 : 6), box.top - 8, end ? "end" : "start", t("shape.median", { n: number(median, 2) }), "label halo"));
    }
    if (upright) {
      const at = x(upright.at), end = at > width - 160;
      root.append(line(at, box.top - 8, at, box.bottom, "limit"), text(at + (end ? -6 : 6), box.top - 8, end ? "end" : "start", upright.label, "label halo"));
    }
    return made.finish();
  });
}

// A limit that the user named otherwise than for the process before.
function isNamed(step) {
  return step.reason === "named anew";
}

// Something over the run's own time. `area` and `line` are values a bin; `limit` is flat, `steps` a limit that changed.
function overTime({ found, label, height = 190, area = null, ridge = null, limit = null, steps = [], stacks = null, tell, marks = [], whole = false }) {
  const anew = steps.filter(isNamed), rest = steps.filter((step) => !isNamed(step));
  return chart((width) => {
    const bins = found.ends.accepted.length, left = 50, per = (width - 6 - left) / Math.max(found.seconds, 1e-9);
    const x = (seconds) => left + seconds * per;
    const values = [...(area || []), ...(ridge || []), ...(stacks ? stacks[0].values.map((_, place) => sum(stacks.map((one) => one.values[place]))) : [])];
    const highest = Math.max(0, ...values), close = (value) => value !== null && value <= highest * 3.2;
    const most = Math.max(highest, limit && close(limit) ? limit : 0, ...steps.map((step) => step.after).filter(close));
    const places = Array.from({ length: bins }, (_, place) => [x(place * found.width), x(Math.min((place + 1) * found.width, Math.max(found.seconds, place * found.width)))]);
    const made = frame({ width, height, top: 22, most, label, places, left, whole, format: short, tell: (at) => {
      const near = marks.filter((mark) => mark.at >= at * found.width && mark.at < (at + 1) * found.width);
      const told = near.slice(-3).map((mark) => `${code(mark.what)} ${mark.before === null ? "–" : number(mark.before, 1)} → ${mark.after === null ? "–" : number(mark.after, 1)}: ${why(mark.reason)}`);
      return [[clockTime(at * found.width), moment(wall(found, at * found.width))], ...tell(at), ...told];
    } });
    const { root, box, y } = made;
    if (area) root.append(s("path", { class: "area", d: path([[places[0][0], box.bottom], ...places.flatMap(([from, to], at) => [[from, y(area[at])], [to, y(area[at])]]), [places[bins - 1][1], box.bottom]]) }));
    if (stacks) {
      const floor = new Array(bins).fill(0);
      stacks.forEach((stack, order) => stack.values.forEach((value, at) => {
        if (!value) return;
        const below = y(floor[at]); floor[at] += value;
        root.append(s("rect", { x: places[at][0], width: Math.max(places[at][1] - places[at][0] - (places[at][1] - places[at][0] > 4 ? 1 : 0), 0.5), y: y(floor[at]), height: below - y(floor[at]), class: `bar-${order + 1}` }));
      }));
    }
    for (const [at, skipped] of found.cuts) root.append(s("g", null, s("title", null, t("rates.pause", { time: span(skipped) })), line(x(at), box.top - 6, x(at), box.bottom, "cut")));
    if (ridge) root.append(s("path", { class: "line", d: path(places.map(([from, to], at) => [(from + to) / 2, y(ridge[at])])) }));
    if (rest.length) root.append(s("path", { class: "found", d: stairs(rest, x, (value) => Math.max(y(value), box.top - 4), width - 6, found.seconds) }));
    if (anew.length) root.append(s("path", { class: "limit", d: stairs(anew, x, (value) => Math.max(y(value), box.top - 4), width - 6, found.seconds) }));
    else if (limit !== null && close(limit)) root.append(line(box.left, y(limit), box.right, y(limit), "limit"), text(box.right, y(limit) - 6, "end", `${t("rates.limit")} ${short(limit)}`, "label halo"));
    else if (limit !== null) root.append(text(box.right, 12, "end", t("rates.above", { limit: short(limit) }), "label"));
    for (const mark of marks) {
      const down = mark.before === null || (mark.after !== null && mark.after < mark.before), at = x(mark.at);
      root.append(s("path", { class: down ? "mark down" : "mark", d: down ? `M${at - 4} ${box.top - 12}h8l-4 7z` : `M${at - 4} ${box.top - 5}h8l-4 -7z` }));
    }
    const ideal = found.seconds / Math.max(2, Math.floor((width - left) / 84)), step = DURATIONS.find((one) => one >= ideal) || ideal;
    for (let at = 0; at <= found.seconds + 1e-6; at += step) if (x(at) < width - 16) root.append(text(x(at), height - 6, at ? "middle" : "start", clockTime(at)));
    return made.finish();
  });
}
// The same with at most so many bins: counts that stand beside each other are added up.
function coarser(found, most) {
  const factor = Math.ceil(found.ends.accepted.length / most), width = found.width * factor;
  const joined = (values) => Array.from({ length: Math.ceil(values.length / factor) }, (_, place) => sum(values.slice(place * factor, (place + 1) * factor)));
  return { ...found, width, ends: Object.fromEntries(Object.entries(found.ends).map(([name, values]) => [name, joined(values)])) };
}
function stairs(steps, x, y, right, seconds) {
  const points = [];
  let level = steps[0].before;
  if (level !== null) points.push([x(0), y(level)]);
  for (const step of steps) {
    if (level !== null) points.push([x(step.at), y(level)]);
    level = step.after;
    if (level !== null) points.push([x(step.at), y(level)]);
  }
  if (level !== null) points.push([Math.min(x(seconds), right), y(level)]);
  return path(points);
}
function wall(found, own) {
  return found.started + own + sum(found.cuts.filter(([at]) => at < own).map(([, skipped]) => skipped));
}
