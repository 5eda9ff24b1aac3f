// Numbers as words, and elements. Text enters the page as text nodes only, so that no name or recipe
// is taken for HTML.

/** element("b", {className: "x"}, "text", otherElement, null) */
function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.includes("-") || name === "style") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const swatch = (run) => element("i", { className: "swatch", style: `background:var(--c${run % 8})` });

const count = (value) => Math.round(value).toLocaleString("en-US");

/** Four digits: 0.1234, 12.34, 1.234e-5. */
function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(4)));
}

/** 12k, 3.5M: for axes. */
function compact(value) {
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= unit) return Number((value / unit).toPrecision(3)) + letter;
  }
  return String(Number(value.toPrecision(3)));
}

function bytes(value) {
  let unit = 0;
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  return `${Number(value.toPrecision(unit ? 3 : 4))} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
}

function duration(seconds) {
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${two((seconds % 3600) / 60)} min`;
}
