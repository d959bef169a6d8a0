// The page's own script: draws the plots, lets the reader pick axes, and opens a case that is clicked on.
// Without it every number is still there, in the tables.

const report = JSON.parse(document.getElementById("report-data").textContent);
const views = new Map();
const tip = document.getElementById("tip");

function rows(columns) {
  const whole = Object.entries(columns).map(([name, of]) => [name, of.words ? of.at.map((i) => of.words[i]) : of]);
  const length = whole.length ? whole[0][1].length : 0;
  return Array.from({ length }, (_, i) => Object.fromEntries(whole.map(([name, values]) => [name, values[i]])));
}

function picked(name) {
  return document.getElementById(name)?.value;
}

function specification(chart, width) {
  const name = chart.spec === "pareto" ? `pareto:${picked("axis-across")}:${picked("axis-up")}` : chart.spec;
  const spec = structuredClone(report.specs[name]);
  spec.config = { ...report.config, legend: { ...report.config.legend, columns: width < 480 ? 2 : 4 } };
  spec.description = chart.label;
  spec.datasets = Object.fromEntries(Object.entries(chart.data).map(([key, columns]) => [key, rows(columns)]));
  return spec;
}

// Text only, never markup: what a point says comes from records.
function hover(handler, event, item, value) {
  if (value === null || value === undefined || typeof value !== "object") {
    tip.hidden = true;
    return;
  }
  const list = document.createElement("dl");
  for (const [name, said] of Object.entries(value)) {
    if (said === "" || said === "null" || said === "undefined") continue;
    const term = list.appendChild(document.createElement("dt"));
    term.textContent = name;
    const text = list.appendChild(document.createElement("dd"));
    text.textContent = String(said);
  }
  tip.replaceChildren(list);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - box.width - 8);
  const below = event.clientY + 14;
  const top = below + box.height > window.innerHeight ? event.clientY - box.height - 10 : below;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

// Where a name may stand beside its point: the share of its own width and height that it is moved, and the gap in pixels.
const PLACES = [[-0.5, -1, 0, -9], [0, -0.5, 11, 0], [-1, -0.5, -11, 0], [-0.5, 0, 0, 9], [0, -1, 7, -6], [-1, -1, -7, -6], [0, 0, 7, 6], [-1, 0, -7, 6]];
const LONGEST = 34;
const CLEAR = 4; // pixels that a name keeps from other points

// Makes every point of a plot reachable by keyboard, and puts its name beside it where that hides no point and no other
// name: those on the front first.
function name(element) {
  const svg = element.querySelector("svg");
  const points = [...svg.querySelectorAll('path[aria-roledescription="point"]')];
  const front = `front_${picked("axis-across")}_${picked("axis-up")}`;
  svg.querySelector(".names")?.remove();
  const group = svg.appendChild(document.createElementNS(svg.namespaceURI, "g"));
  group.setAttribute("class", "names");
  group.setAttribute("aria-hidden", "true"); // each point says its name itself
  const whole = svg.getBoundingClientRect();
  const inner = (svg.querySelector("path.background") ?? svg).getBoundingClientRect();
  const scale = (svg.viewBox.baseVal?.width || whole.width) / whole.width;
  const near = points.map((point) => wider(point.getBoundingClientRect(), CLEAR)); // whose name it is must be plain
  const taken = [];
  const room = { left: inner.left + 2, right: whole.right, top: whole.top, bottom: inner.bottom };
  const order = points.map((_, i) => i).sort((a, b) => on(points[b], front) - on(points[a], front));
  for (const i of order) {
    const datum = points[i].__data__?.datum;
    if (!datum) continue;
    reach(points[i], datum);
    const text = group.appendChild(document.createElementNS(svg.namespaceURI, "text"));
    text.textContent = datum.name.length > LONGEST ? `${datum.name.slice(0, LONGEST - 1)}…` : datum.name;
    text.setAttribute("y", "0");
    const { width, height } = text.getBoundingClientRect();
    const { left, top, width: wide, height: high } = points[i].getBoundingClientRect();
    const places = PLACES.map(([across, down, dx, dy]) => {
      const x = left + wide / 2 + across * width + dx;
      const y = top + high / 2 + down * height + dy;
      return { left: x, right: x + width, top: y, bottom: y + height };
    });
    const place = places.find(
      (box) =>
        box.left >= room.left && box.right <= room.right && box.top >= room.top && box.bottom <= room.bottom &&
        ![...near.filter((_, other) => other !== i), ...taken].some((other) => box.left < other.right && box.right > other.left && box.top < other.bottom && box.bottom > other.top),
    );
    if (!place) {
      text.remove();
      continue;
    }
    taken.push(place);
    text.setAttribute("x", (place.left - whole.left) * scale);
    text.setAttribute("y", (place.top - whole.top) * scale + 0.78 * height * scale);
  }
}

function wider({ left, right, top, bottom }, by) {
  return { left: left - by, right: right + by, top: top - by, bottom: bottom + by };
}

function on(point, front) {
  return point.__data__?.datum?.[front] ? 1 : 0;
}

function reach(point, datum) {
  if (point.hasAttribute("tabindex")) return;
  point.setAttribute("tabindex", "0");
  point.setAttribute("role", "link");
  point.addEventListener("focus", () => {
    const { right, bottom } = point.getBoundingClientRect();
    hover(null, { clientX: right, clientY: bottom }, null, point.__data__?.tooltip);
  });
  point.addEventListener("blur", () => (tip.hidden = true));
  point.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && /^case-\d+$/.test(datum.anchor)) go(datum.anchor);
  });
}

// A plot follows the width of its place, and its names follow the plot, once it has come to rest.
const resting = new Map();
const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    clearTimeout(resting.get(target));
    resting.set(target, setTimeout(() => target.querySelector("svg") && name(target), 250));
  }
});

async function draw(element) {
  const chart = report.charts[element.dataset.chart];
  views.get(element)?.finalize();
  try {
    const result = await window.vegaEmbed(element, specification(chart, element.clientWidth), {
      mode: "vega-lite",
      renderer: "svg",
      actions: false,
      ast: true, // expressions are interpreted, so the page's policy need not allow eval
      defaultStyle: false,
      logLevel: 1, // a history without an accepted run has nothing to ring, which is no fault
      tooltip: hover,
    });
    views.set(element, result);
    result.view.addEventListener("click", (event, item) => {
      const anchor = item?.datum?.anchor;
      if (typeof anchor === "string" && /^case-\d+$/.test(anchor)) go(anchor);
    });
    if (chart.spec === "pareto") {
      name(element);
      resized.observe(element);
    }
    element.classList.add("drawn");
  } catch (error) {
    element.textContent = `This plot could not be drawn: ${error.message}`;
  }
}

function drawWithin(element) {
  for (const place of element.querySelectorAll("[data-chart]")) {
    const closed = place.closest("details:not([open])");
    if (!closed && !views.has(place)) {
      views.set(place, null);
      draw(place);
    }
  }
}

function open(anchor) {
  const target = document.getElementById(anchor);
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  tip.hidden = true;
  target.scrollIntoView();
  target.querySelector("summary")?.focus({ preventScroll: true });
}

function go(anchor) {
  if (location.hash === `#${anchor}`) open(anchor);
  else location.hash = anchor;
}

document.addEventListener("toggle", (event) => event.target.open && drawWithin(event.target), true);
window.addEventListener("hashchange", () => open(location.hash.slice(1)));
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (link && link.getAttribute("href") === location.hash) open(location.hash.slice(1));
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") tip.hidden = true;
});
window.addEventListener("scroll", () => (tip.hidden = true), { passive: true });

for (const name of ["axis-across", "axis-up"]) {
  document.getElementById(name)?.addEventListener("change", () => {
    document.querySelectorAll('[data-kind="pareto"]').forEach(draw);
  });
}
for (const button of document.querySelectorAll("[data-open]")) {
  button.addEventListener("click", () => {
    const wanted = button.dataset.open === "all";
    document.querySelectorAll("details.case").forEach((details) => (details.open = wanted));
  });
}
document.documentElement.classList.add("scripted");
drawWithin(document);
if (location.hash) open(location.hash.slice(1));
