// The pictures of training under one slider, and those that were made of the run afterwards.

const image = (picture) => element("img", { alt: picture.name, src: `data:image/png;base64,${picture.png}` });

const figure = (picture, caption) => element("figure", null, image(picture), element("figcaption", null, caption));

/** The newest picture at `step` or before; the first one where there is none. */
const pictureAt = (pictures, step) => pictures.findLast((picture) => picture.step <= step) ?? pictures[0];

function sliderCard(runs) {
  const shown = runs.map((run, number) => ({ run, number })).filter(({ run }) => run.pictures.length);
  const steps = [...new Set(shown.flatMap(({ run }) => run.pictures.map((p) => p.step)))].sort((a, b) => a - b);
  const input = element("input", { type: "range", id: "picture-step", min: 0, max: steps.length - 1, value: steps.length - 1, "aria-label": "step" });
  const output = element("output");
  const places = shown.map(({ run, number }) => ({ run, number, figure: element("figure", { "data-run": number }) }));
  const show = () => {
    const step = steps[Number(input.value)];
    output.textContent = `step ${count(step)}`;
    for (const place of places) {
      const picture = pictureAt(place.run.pictures, step);
      place.figure.replaceChildren(image(picture),
        element("figcaption", null, runs.length > 1 ? [swatch(place.number), `${place.run.name}, `] : null, `step ${count(picture.step)}`));
    }
  };
  input.addEventListener("input", show);
  show();

  // Six moments evenly over the run; a click goes there.
  const moments = [...new Set([0, 1, 2, 3, 4, 5].map((i) => Math.round(i * (steps.length - 1) / 5)))];
  const strip = moments.map((index) => {
    const picture = pictureAt(shown[0].run.pictures, steps[index]);
    const button = element("button", { type: "button", title: `step ${count(steps[index])}` }, image(picture));
    button.addEventListener("click", () => { input.value = index; show(); });
    return button;
  });
  return element("div", { className: "card" },
    steps.length > 1 ? element("div", { className: "slider" }, input, output) : null,
    element("div", { className: "pictures" }, places.map((place) => place.figure)),
    steps.length > 1 ? element("div", { className: "strip" }, strip) : null);
}

function picturesSection(runs) {
  const hasPictures = runs.some((run) => run.pictures.length);
  const stills = runs.flatMap((run, number) => run.stills.map((still) =>
    figure(still, runs.length > 1 ? [swatch(number), `${run.name}, ${still.name}`] : still.name)));
  if (!hasPictures && !stills.length) return null;
  return element("section", { id: "pictures" }, element("h2", null, "Pictures"), hasPictures ? sliderCard(runs) : null,
    stills.length ? element("div", { className: "card pictures", style: hasPictures ? "margin-top:14px" : "" }, stills) : null);
}
