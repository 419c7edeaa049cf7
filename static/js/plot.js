// Draws every `figure.plot[data-plot]` as SVG from the JSON script that it names, with a table of the same numbers.
//
//   {"title": "Pitch", "description": "one sentence",
//    "x": {"label": "Time", "unit": "s"},
//    "y": {"label": "Pitch", "unit": "Hz", "scale": "notes" | "linear"},
//    "series": [{"name": "Source", "x": [0, 0.01], "y": [220, null]}]}
//
// null is a gap. `notes` is a logarithmic axis in Hz with note names.

import { element, everywhere } from "./track.js";

const HEIGHT = 240;
const MARGIN = { top: 12, right: 48, bottom: 40, left: 52 };
const NAMES = ["C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"];
const TABLE_ROWS = 60;

function svg(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

const midi = (hz) => 69 + 12 * Math.log2(hz / 440);
const hertz = (note) => 440 * 2 ** ((note - 69) / 12);
const noteName = (note) => `${NAMES[((note % 12) + 12) % 12]}${Math.floor(note / 12) - 1}`;
const short = (value) => String(Number(value.toPrecision(4)));

/** Round steps that make about `count` lines between `low` and `high`. */
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(10)));
  return found;
}

function noteTicks(low, high, count) {
  const step = [1, 2, 3, 4, 6, 12, 24].find((one) => (high - low) / one <= count) ?? 24;
  const found = [];
  for (let note = Math.ceil(low / step) * step; note <= high; note += step) found.push(note);
  return found;
}

function extent(values, padding) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) return null;
  const room = (high - low) * padding || padding || 1;
  return [low - room, high + room];
}

/** The two scales: from data to pixels, with their ticks as [position, label, label on the other side]. */
function scales(data, width) {
  const notes = data.y.scale === "notes";
  const inner = notes ? midi : Number;
  const xs = extent(data.series.flatMap((one) => one.x), 0);
  const ys = extent(data.series.flatMap((one) => one.y.filter((value) => value !== null).map(inner)), 0.08);
  if (!xs || !ys) return null;
  const [left, right] = [MARGIN.left, width - (notes ? MARGIN.right : 12)];
  const [top, bottom] = [MARGIN.top, HEIGHT - MARGIN.bottom];
  const x = (value) => left + ((value - xs[0]) / (xs[1] - xs[0] || 1)) * (right - left);
  const onScale = (value) => bottom - ((value - ys[0]) / (ys[1] - ys[0] || 1)) * (bottom - top);
  const yTicks = notes
    ? noteTicks(ys[0], ys[1], 9).map((note) => [onScale(note), noteName(note), `${hertz(note).toFixed(0)}`])
    : ticks(ys[0], ys[1], 5).map((value) => [onScale(value), short(value), ""]);
  const xTicks = ticks(xs[0], xs[1], Math.max(2, Math.floor(width / 110))).map((value) => [x(value), short(value)]);
  return { x, y: (value) => onScale(inner(value)), xTicks, yTicks, left, right, top, bottom, notes };
}

function path(series, scale) {
  let drawn = "";
  let pen = false;
  series.x.forEach((at, index) => {
    const value = series.y[index];
    if (value === null) pen = false;
    else {
      drawn += `${pen ? "L" : "M"}${scale.x(at).toFixed(1)} ${scale.y(value).toFixed(1)}`;
      // A single point between two gaps is drawn as a dot.
      if (!pen && (series.y[index + 1] ?? null) === null) drawn += "h0.1";
      pen = true;
    }
  });
  return drawn;
}

function axes(data, scale, width) {
  const parts = [];
  for (const [at, label, other] of scale.yTicks) {
    parts.push(svg("line", { class: "grid-line", x1: scale.left, x2: scale.right, y1: at, y2: at }));
    parts.push(svg("text", { x: scale.left - 8, y: at + 4, "text-anchor": "end" }, label));
    if (other) parts.push(svg("text", { x: scale.right + 8, y: at + 4 }, other));
  }
  for (const [at, label] of scale.xTicks) {
    parts.push(svg("text", { x: at, y: scale.bottom + 18, "text-anchor": "middle" }, label));
  }
  parts.push(svg("line", { class: "axis-line", x1: scale.left, x2: scale.right, y1: scale.bottom, y2: scale.bottom }));
  const unit = (axis) => (axis.unit ? `${axis.label} (${axis.unit})` : axis.label);
  const middle = (scale.left + scale.right) / 2;
  parts.push(svg("text", { x: middle, y: HEIGHT - 4, "text-anchor": "middle" }, unit(data.x)));
  if (scale.notes) parts.push(svg("text", { x: width - 2, y: HEIGHT - 4, "text-anchor": "end" }, data.y.unit));
  return parts;
}

function draw(figure, data) {
  const width = Math.max(280, Math.round(figure.clientWidth));
  const scale = scales(data, width);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img" });
  drawing.append(svg("title", {}, data.title), svg("desc", {}, data.description ?? ""));
  drawing.setAttribute("aria-label", [data.title, data.description].filter(Boolean).join(". "));
  if (scale) {
    drawing.append(...axes(data, scale, width));
    data.series.forEach((series, index) => {
      drawing.append(svg("path", { class: `curve curve-${index}`, d: path(series, scale) }));
    });
  } else {
    drawing.append(svg("text", { x: width / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "Nothing to draw yet."));
  }
  figure.querySelector("svg")?.replaceWith(drawing);
  return drawing;
}

function legend(data) {
  const box = element("div", { class: "plot-legend", "aria-hidden": "true" });
  data.series.forEach((series, index) => {
    box.append(element("span", { class: `curve-${index}` }, element("b", {}, series.name)));
  });
  return box;
}

/** The numbers, thinned to a length that can be read, when somebody opens them. */
function table(data) {
  const details = element("details", { class: "plot-table" }, element("summary", {}, "The same as a table"));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const head = element("tr", {}, element("th", { scope: "col" }, `${data.x.label} ${data.x.unit ?? ""}`));
    for (const series of data.series) {
      head.append(element("th", { scope: "col" }, `${series.name} ${data.y.unit ?? ""}`));
    }
    const body = element("tbody");
    const times = data.series.reduce((longest, one) => (one.x.length > longest.length ? one.x : longest), []);
    const stride = Math.max(1, Math.ceil(times.length / TABLE_ROWS));
    for (let index = 0; index < times.length; index += stride) {
      const row = element("tr", {}, element("th", { scope: "row" }, short(times[index])));
      for (const series of data.series) {
        const value = series.y[index] ?? null;
        row.append(element("td", {}, value === null ? "–" : short(value)));
      }
      body.append(row);
    }
    const caption = element("caption", {}, `${data.title}${stride > 1 ? `, each ${stride}th value` : ""}`);
    const whole = element("table", { class: "table" }, caption, element("thead", {}, head), body);
    details.append(element("div", { tabindex: "0", role: "region", "aria-label": `Table: ${data.title}` }, whole));
  });
  return details;
}

function plot(figure) {
  const data = JSON.parse(document.getElementById(figure.dataset.plot).textContent);
  const place = svg("svg");
  figure.prepend(legend(data), place);
  figure.append(table(data));
  let width = 0;
  const sized = new ResizeObserver(() => {
    if (figure.clientWidth === width) return;
    width = figure.clientWidth;
    draw(figure, data);
  });
  sized.observe(figure);
  draw(figure, data);
  return { destroy: () => sized.disconnect() };
}

everywhere("figure.plot[data-plot]", plot);
