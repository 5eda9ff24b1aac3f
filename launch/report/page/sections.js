// The page from top to bottom.

const section = (id, title, ...content) => element("section", { id }, element("h2", null, title), ...content);

function table(head, rows) {
  const row = (cells, tag) => element("tr", null, cells.map((cell) => {
    const isNumber = cell?.number !== undefined;
    return element(tag, { className: isNumber ? "number" : "" }, isNumber ? cell.number : cell);
  }));
  return element("div", { className: "card" }, element("table", null, row(head, "th"), rows.map((cells) => row(cells, "td"))));
}

/** [caption, text] of what is said of a run before anything else. */
function figuresOf(run) {
  const list = [["steps", count(run.steps)], ["samples seen", count(run.samples)]];
  if (run.curves.loss) list.push(["final loss", short(run.curves.loss.newest)]);
  if (run.samples_per_s !== null) list.push(["samples per second, median", count(run.samples_per_s)]);
  list.push(["spent in steps", duration(run.total_s)]);
  if (run.peak_memory_bytes !== null) list.push(["peak memory of rank 0", bytes(run.peak_memory_bytes)]);
  return list;
}

const named = (run, number) => element("span", null, swatch(number), run.name);

function summary(runs) {
  if (runs.length === 1) {
    return element("div", { className: "tiles" }, figuresOf(runs[0]).map(([caption, text]) =>
      element("div", { className: "tile" }, element("b", null, text), element("span", null, caption))));
  }
  const figures = runs.map((run) => new Map(figuresOf(run)));
  const captions = [...new Set(figures.flatMap((map) => [...map.keys()]))];
  return table(["run", ...captions.map((number) => ({ number }))],
    runs.map((run, i) => [named(run, i), ...captions.map((caption) => ({ number: figures[i].get(caption) ?? "–" }))]));
}

function evaluationsSection(runs) {
  const several = runs.length > 1;
  const rows = runs.flatMap((run, number) => run.evaluations.map(({ texts, figures }) => [
    ...(several ? [named(run, number)] : []), texts.evaluation ?? "", texts.of ?? "",
    element("span", null, Object.entries(figures).flatMap(([name, value], i) =>
      [i ? " · " : "", `${name} `, element("b", null, String(Number(value.toPrecision(6))))]))]));
  if (!rows.length) return null;
  return section("evaluations", "Evaluations", table([...(several ? ["run"] : []), "evaluation", "of", "figures"], rows));
}

const kTimeColours = [2, 4, 3];  // computing, data, other ranks

function timeSection(runs) {
  const bars = runs.map((run, number) => {
    if (run.total_s <= 0) return null;
    const computing = Math.max(0, run.total_s - run.data_wait_s - run.comm_wait_s);
    const parts = [["computing", computing], ["waiting for data", run.data_wait_s], ["waiting for other ranks", run.comm_wait_s]];
    const total = parts.reduce((sum, [, seconds]) => sum + seconds, 0);
    const percent = (seconds) => 100 * seconds / total;
    return element("div", null, runs.length > 1 ? element("h3", null, named(run, number)) : null,
      element("div", { className: "bar" }, parts.map(([, seconds], i) =>
        element("i", { style: `background:var(--c${kTimeColours[i]});width:${percent(seconds).toFixed(2)}%` }))),
      element("ul", { className: "legend" }, parts.map(([name, seconds], i) => element("li", null, swatch(kTimeColours[i]), `${name} `,
        element("b", null, `${percent(seconds).toFixed(1)}% `), element("span", null, duration(seconds))))));
  }).filter(Boolean);
  return bars.length ? section("time", "Where the time went", element("div", { className: "card" }, bars)) : null;
}

function checkpointsSection(runs) {
  const several = runs.length > 1;
  const rows = runs.flatMap((run, number) => run.checkpoints.map((checkpoint) =>
    [...(several ? [named(run, number)] : []), checkpoint.name, { number: bytes(checkpoint.bytes) }]));
  if (!rows.length) return null;
  return section("checkpoints", "Checkpoints", table([...(several ? ["run"] : []), "checkpoint", { number: "size" }], rows));
}

/** {"train.global_batch": "256", ...} of a resolved recipe, which has a key a line. */
function recipeKeys(text) {
  const keys = new Map();
  let part = "";
  for (const line of text.split("\n")) {
    const head = line.match(/^\[([^\]]+)\]/), pair = line.match(/^\s*([\w.-]+)\s*=\s*(.*?)\s*(#.*)?$/);
    if (head) part = head[1] + ".";
    else if (pair) keys.set(part + pair[1], pair[2]);
  }
  return keys;
}

function recipeSection(runs) {
  const given = runs.filter((run) => run.recipe);
  if (!given.length) return null;
  const recipes = runs.map((run) => recipeKeys(run.recipe));
  const keys = [...new Set(recipes.flatMap((recipe) => [...recipe.keys()]))];
  const differing = keys.filter((key) => new Set(recipes.map((recipe) => recipe.get(key))).size > 1);
  return section("recipe", runs.length > 1 ? "Recipes" : "Recipe",
    runs.length > 1 && differing.length ? table(["what differs", ...runs.map(named)],
      differing.map((key) => [key, ...recipes.map((recipe) => recipe.get(key) ?? "–")])) : null,
    element("div", { className: "card", style: runs.length > 1 ? "margin-top:14px" : "" }, given.map((run) => element("details", null,
      element("summary", null, runs.length > 1 ? `recipe.toml of ${run.name}` : "recipe.toml"), element("pre", null, run.recipe)))));
}

function drawPage() {
  const { runs, written } = JSON.parse(document.getElementById("data").textContent);
  const title = runs.map((run) => run.name).join(" · ");
  document.title = title;
  const curves = curvesSection(runs);
  document.getElementById("page").replaceChildren(...[
    element("header", null, element("h1", null, title), element("p", null, [written, ...runs.map((run) => run.folder)].join(" · "))),
    summary(runs), curves.section, picturesSection(runs), evaluationsSection(runs), timeSection(runs), checkpointsSection(runs),
    recipeSection(runs),
    element("footer", null, "Written by kiln report. The pale line is what was logged, the strong one its moving mean."),
  ].filter(Boolean));
  curves.drawAll();
}

drawPage();
