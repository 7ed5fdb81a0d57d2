"use strict";
// Adds to the chart what answers to the pointer, and builds the other parts from #data.
// Every text goes in as a text node, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

function node(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function shape(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// ---------------------------------------------------------------- axes of the reliability charts

function plotter(svg, x, y, box) {
  const px = (v) => box.left + ((v - x.low) / (x.high - x.low)) * (box.right - box.left);
  const py = (v) => box.bottom - ((v - y.low) / (y.high - y.low)) * (box.bottom - box.top);
  for (const tick of y.ticks) {
    svg.append(shape("line", { class: "grid", x1: box.left, x2: box.right, y1: py(tick), y2: py(tick) }));
    svg.append(shape("text", { class: "faint", x: box.left - 8, y: py(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of x.ticks) {
    svg.append(shape("line", { class: "grid", x1: px(tick), x2: px(tick), y1: box.top, y2: box.bottom }));
    svg.append(shape("text", { class: "faint", x: px(tick), y: box.bottom + 18, "text-anchor": "middle" }, String(tick)));
  }
  svg.append(shape("rect", { class: "frame", x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top }));
  const line = (points) => points.map(([a, b]) => `${px(a)},${py(b)}`).join(" ");
  return { px, py, line };
}

function titles(svg, box, x, y) {
  const middle = (box.top + box.bottom) / 2;
  svg.append(shape("text", { x: (box.left + box.right) / 2, y: box.bottom + 36, "text-anchor": "middle" }, x));
  svg.append(shape("text", { x: 16, y: middle, "text-anchor": "middle", transform: `rotate(-90 16 ${middle})` }, y));
}

// ---------------------------------------------------------------- hover

const tip = byId("tip");

function hover(target, text) {
  target.classList.add("hit");
  const show = (event) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(event.clientY + 14, innerHeight - height - 8))}px`;
  };
  target.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") show(event); });
  target.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") tip.hidden = true; });
  // A finger points at nothing before it taps; what it has tapped stays until it taps elsewhere.
  target.addEventListener("click", (event) => { event.stopPropagation(); show(event); });
}

document.addEventListener("click", () => { tip.hidden = true; });
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

// ---------------------------------------------------------------- the frontier

// The charts are there already, one for wide windows and one for phones. This adds what answers to the pointer and to the keyboard.
function frontier(chart) {
  for (const point of chart.querySelectorAll("[data-text]")) hover(point, point.dataset.text);
  const layers = [...chart.querySelectorAll("[data-policy]")];
  for (const entry of chart.querySelectorAll("[data-for]"))
    legend(chart, entry, layers.filter((layer) => layer.dataset.policy === entry.dataset.for));
}

// A policy has two layers: its lines, and above all lines its mark.
function legend(chart, entry, layers) {
  const toggle = () => {
    const shown = entry.getAttribute("aria-pressed") !== "true";
    entry.setAttribute("aria-pressed", String(shown));
    for (const layer of layers) layer.classList.toggle("off", !shown);
  };
  const focus = (on) => {
    chart.classList.toggle("focused", on);
    for (const layer of layers) layer.classList.toggle("focus", on);
  };
  entry.addEventListener("click", toggle);
  entry.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    toggle();
  });
  for (const type of ["pointerenter", "focus"]) entry.addEventListener(type, () => focus(true));
  for (const type of ["pointerleave", "blur"]) entry.addEventListener(type, () => focus(false));
}

// ---------------------------------------------------------------- the other parts

function figures(own) {
  const heads = own.heads.map((head) => node("th", {}, node("abbr", { title: head.about }, head.name)));
  const table = node("table", {}, node("tr", {}, node("th", {}, "policy"), ...heads));
  for (const row of own.rows) {
    const cells = row.cells.map((cell) => {
      const td = node("td", cell.reason ? { title: cell.reason } : {}, cell.value);
      if (cell.range) td.append(node("span", { class: "range" }, cell.range));
      return td;
    });
    const parts = row.name.split(/(?<=[:-])/).flatMap((part, place) => (place ? [node("wbr"), part] : [part]));
    table.append(node("tr", { class: row.kind }, node("td", {}, ...parts), ...cells));
  }
  const box = node("div", { class: "wide", role: "region", tabindex: "0", "aria-label": own.title }, table);
  const hint = node("p", { class: "faint" }, "The table goes on to the right: scroll it sideways.");
  const fit = () => {
    hint.hidden = box.scrollWidth <= box.clientWidth;
    box.classList.toggle("more", !hint.hidden);
  };
  const words = own.heads.flatMap((head) => [node("dt", {}, head.name), node("dd", {}, head.about)]);
  const absent = own.absent.map((text) => node("p", { class: "faint" }, text));
  const reasons = own.reasons.map((text) => node("li", {}, text));
  if (reasons.length) absent.push(node("details", {}, node("summary", {}, "Why a dash or a question mark stands there"), node("ul", {}, ...reasons)));
  byId("figures").append(node("h3", {}, own.title), hint, box, ...absent, node("dl", {}, ...words));
  new ResizeObserver(fit).observe(box);
  fit();
}

function reliability() {
  const where = byId("reliability");
  if (!data.health.length) where.append(node("p", { class: "faint" }, "No votes and no confidence are recorded."));
  const unit = { low: 0, high: 1, ticks: [0, 0.2, 0.4, 0.6, 0.8, 1] };
  for (const tier of data.health) {
    const box = { left: 52, right: 372, top: 12, bottom: 332 };
    const svg = shape("svg", { viewBox: "0 0 390 390", role: "img", "aria-label": `reliability of ${tier.tier}` });
    svg.style.maxWidth = "26rem";
    const at = plotter(svg, unit, unit, box);
    titles(svg, box, `confidence (${tier.signal})`, data.share);
    svg.append(shape("text", { x: (box.left + box.right) / 2, y: box.bottom + 54, "text-anchor": "middle", "font-weight": 600 }, `${tier.tier}: ${tier.auroc}`));
    svg.append(shape("polyline", { class: "hull", points: at.line([[0, 0], [1, 1]]) }));
    const most = Math.max(...tier.table.map((bin) => bin.rows));
    for (const bin of tier.table) {
      const x = at.px(bin.confidence);
      svg.append(shape("line", { x1: x, x2: x, y1: at.py(bin.low), y2: at.py(bin.high), stroke: "#0072b2", "stroke-width": 1.5 }));
      const dot = shape("circle", { cx: x, cy: at.py(bin.right), r: 3 + 7 * Math.sqrt(bin.rows / most), fill: "#0072b2", "fill-opacity": 0.75 });
      hover(dot, bin.text);
      svg.append(dot);
    }
    where.append(svg);
  }
  for (const text of data.agreements) where.append(node("p", {}, text));
}

function bars(where, rows, keys) {
  where.append(node("div", { class: "keys" }, ...keys.map((key) => {
    const swatch = node("i");
    swatch.style.background = key.colour;
    return node("span", {}, swatch, key.name);
  })));
  const most = Math.max(...rows.map((row) => row.parts.reduce((sum, part) => sum + part, 0))) || 1;
  const grid = node("div", { class: "bars" });
  for (const row of rows) {
    const bar = node("div", { class: "bar" });
    row.parts.forEach((part, place) => {
      const span = node("span");
      span.style.width = `${(100 * part) / most}%`;
      span.style.background = keys[place].colour;
      hover(span, `${row.name}\n${keys[place].name}: ${row.texts[place]}`);
      bar.append(span);
    });
    grid.append(node("span", {}, row.name), bar, node("span", { class: "faint" }, row.text));
  }
  where.append(grid);
}

function escalation() {
  const where = byId("escalation");
  if (!data.escalation.rows.length) where.append(node("p", { class: "faint" }, data.escalation.none));
  else bars(where, data.escalation.rows, data.escalation.keys);
  for (const list of data.escalation.examples) {
    const details = node("details", {}, node("summary", {}, list.title));
    details.append(node("ul", {}, ...list.rows.map((row) => node("li", {}, `${row.id}: ${row.question} `, node("span", { class: list.kind }, row.change)))));
    where.append(details);
  }
}

function tree(items) {
  return node("ul", { class: "tree" }, ...items.map((item) => {
    const label = [item.label, node("span", { class: "chance" }, item.chance)];
    if (!item.children.length) return node("li", {}, ...label);
    const details = node("details", { open: "" }, node("summary", {}, ...label), tree(item.children));
    return node("li", {}, details);
  }));
}

document.querySelectorAll(".frontier svg").forEach(frontier);
data.tables.forEach(figures);
reliability();
bars(byId("money"), data.money.rows, data.money.keys);
escalation();
byId("plan").append(data.plan.length ? tree(data.plan) : node("p", { class: "faint" }, data.planless));
