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
