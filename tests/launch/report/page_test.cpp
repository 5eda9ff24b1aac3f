// The page of `kiln report` in a real browser: Chromium draws it, a script plays the reader, and what
// the page then shows is compared with what the runs say.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/file_io.h"
#include "core/report/picture.h"
#include "core/torch.h"
#include "launch/report/report.h"
#include "tests/support/program.h"

namespace kiln {
namespace {

/// Path of a Chromium, or nothing.
std::string chromium() {
  if (const char* named = std::getenv("KILN_CHROMIUM")) return named;
  for (const std::string name : {"chromium", "chromium-browser", "google-chrome"}) {
    if (test::run({"sh", "-c", "command -v " + name}).exit_code == 0) return name;
  }
  return "";
}

/// Loss falls along a straight line from `first` in five reports of 100 samples; 50 samples a second.
void write_run(const std::filesystem::path& run, double first) {
  std::filesystem::create_directories(run / "pictures");
  std::ofstream metrics(run / "metrics.jsonl");
  for (int step = 1; step <= 5; ++step) {
    metrics << nlohmann::json{{"step", step},
                              {"samples", 100 * step},
                              {"loss", first - 0.25 * (step - 1)},
                              {"samples_per_s", 50.0},
                              {"data_wait_s", 0.5}}
            << "\n";
    const auto picture = at::full({8, 8, 3}, 40 * step, at::kByte);
    std::ofstream(run / "pictures" / ("step-00000000" + std::to_string(step) + ".png"),
                  std::ios::binary)
        << encode_png(picture);
  }
  metrics << nlohmann::json{{"step", 5}, {"eval/knn_accuracy", 0.75}} << "\n";
  std::ofstream(run / "evaluations.jsonl")
      << nlohmann::json{{"evaluation", "knn"}, {"of", "the run"}, {"accuracy", 0.75}} << "\n";
  std::ofstream(run / "recipe.toml") << "[optimizer]\nlr = " << first << "\n[run]\nseed = 1\n";
}

// Errors are collected from the first script on.
const char* const kWatch = R"js(<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
for (const kind of ["error", "warn"]) console[kind] = (...words) => errors.push(words.join(" "));
</script>)js";

// What `read` finds becomes the whole page.
const char* const kAnswer = R"js(
const seen = {};
const figures = () => [...document.querySelectorAll("#curves figure")];
const numbers = (figure) => [...figure.querySelectorAll("b:not([hidden])")].map((b) => b.textContent);
const settle = () => new Promise((done) => setTimeout(done, 100));
read().catch((problem) => errors.push(String(problem))).then(() => {
  document.body.replaceChildren(document.createTextNode(JSON.stringify({ ...seen, errors })));
});
)js";

// What a reader does, and what stands on the page after each act.
const char* const kReader = R"js(
const range = () => figures().map(({ chart }) => [chart.plot.scales.x.min, chart.plot.scales.x.max]);
function mouse(type, part, extra) {
  const over = figures()[0].querySelector(".u-over"), box = over.getBoundingClientRect();
  const place = { clientX: box.left + part * box.width, clientY: box.top + box.height / 2, bubbles: true, ...extra };
  (type === "mouseup" ? document : over).dispatchEvent(new MouseEvent(type, place));
}
const press = async (query) => { document.querySelector(query).click(); await settle(); };

async function read() {
  await settle();
  seen.title = document.title;
  seen.charts = figures().map((figure) => figure.dataset.name);
  seen.newest = numbers(figures()[0]);
  seen.whole = range();
  mouse("mouseenter", 0.5); mouse("mousemove", 0.5); await settle();
  seen.at = figures()[0].querySelector(".at").textContent;
  seen.hovered = numbers(figures()[0]);
  mouse("mousedown", 0.2, { button: 0 });
  for (const part of [0.3, 0.5, 0.6]) mouse("mousemove", part, { buttons: 1, movementX: 9 });
  mouse("mouseup", 0.6, { button: 0 }); await settle();
  seen.zoomed = range();
  mouse("dblclick", 0.5); await settle();
  seen.back = range();
  await press("[data-x=time]");
  seen.seconds = range();
  seen.logarithmic = figures()[0].chart.plot.scales.y.distr;
  await press("#curves figure button");
  seen.linear = figures()[0].chart.plot.scales.y.distr;
  await press("[data-run='1']");
  seen.alone = numbers(figures()[0]);
  const slider = document.querySelector("#picture-step");
  const pictures = () => [...document.querySelectorAll("#pictures [data-run] img")].map((image) => [image.alt, image.naturalWidth]);
  seen.last = pictures();
  slider.value = 1; slider.dispatchEvent(new Event("input")); await settle();
  seen.slid = pictures();
  seen.differing = [...document.querySelectorAll("#recipe td")].map((cell) => cell.textContent);
  seen.evaluations = document.querySelectorAll("#evaluations tr").length;
}
)js";

// For a page that is looked at and left alone.
const char* const kGlance = R"js(
async function read() {
  await settle();
  seen.newest = figures().map((figure) => numbers(figure)[0]);
}
)js";

/// What the script `reader` finds on the page, with the errors that the browser reported.
nlohmann::json read_in(const std::string& browser, std::string page, const std::string& reader) {
  const std::string head = "<meta charset=\"utf-8\">", end = "</html>";
  page.insert(page.find(head) + head.size(), kWatch);
  page.insert(page.rfind(end), "<script>" + reader + kAnswer + "</script>");
  const auto folder = test::fresh_folder("page");
  std::ofstream(folder / "page.html") << page;
  const test::Outcome outcome = test::run(
      {browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
       "--user-data-dir=" + (folder / "profile").string(), "--virtual-time-budget=20000",
       "--window-size=1200,900", "--dump-dom", "file://" + (folder / "page.html").string()});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err.find(":CONSOLE"), std::string::npos) << outcome.err;
  const std::size_t from = outcome.out.find("<body>") + 6;
  const auto seen = nlohmann::json::parse(
      outcome.out.substr(from, outcome.out.find("</body>") - from), nullptr, false);
  EXPECT_TRUE(seen.is_object()) << outcome.out.substr(0, 2000);
  return seen;
}

using Ranges = std::vector<std::vector<double>>;

TEST(Page, ShowsTwoRunsZoomsHoversAndSlides) {
  const std::string browser = chromium();
  if (browser.empty()) GTEST_SKIP() << "no Chromium on the PATH (KILN_CHROMIUM names one)";
  const auto folder = test::fresh_folder("page_runs");
  write_run(folder / "a", 2.5);
  write_run(folder / "b", 2.0);
  const auto seen =
      read_in(browser, read_text_file(write_report({folder / "a", folder / "b"})), kReader);
  ASSERT_TRUE(seen.is_object());
  EXPECT_EQ(seen["errors"], nlohmann::json::array());

  EXPECT_EQ(seen["title"], "a · b");
  EXPECT_EQ(seen["charts"],
            (std::vector<std::string>{"loss", "samples_per_s", "eval/knn_accuracy"}));
  EXPECT_EQ(seen["newest"], (std::vector<std::string>{"1.5", "1"}));
  EXPECT_EQ(seen["whole"][0], (std::vector<double>{100, 500}));
  EXPECT_EQ(seen["at"], "300 samples");
  EXPECT_EQ(seen["hovered"], (std::vector<std::string>{"2", "1.5"}));

  // From a fifth to three fifths of the width, within a pixel or two of some 450.
  const auto zoomed = seen["zoomed"].get<Ranges>();
  EXPECT_NEAR(zoomed[0][0], 180, 3);
  EXPECT_NEAR(zoomed[0][1], 340, 3);
  EXPECT_EQ(zoomed[1], zoomed[0]) << "the other charts follow";
  EXPECT_EQ(seen["back"], seen["whole"]);
  EXPECT_EQ(seen["seconds"][0], (std::vector<double>{2, 10}));  // 50 samples a second
  EXPECT_EQ(seen["logarithmic"], 3);
  EXPECT_EQ(seen["linear"], 1);
  EXPECT_EQ(seen["alone"], std::vector<std::string>{"1.5"});

  using Picture = std::pair<std::string, int>;
  EXPECT_EQ(seen["last"].get<std::vector<Picture>>(),
            (std::vector<Picture>{{"step-000000005", 8}, {"step-000000005", 8}}));
  EXPECT_EQ(seen["slid"].get<std::vector<Picture>>(),
            (std::vector<Picture>{{"step-000000002", 8}, {"step-000000002", 8}}));
  EXPECT_EQ(seen["differing"], (std::vector<std::string>{"optimizer.lr", "2.5", "2"}));
  EXPECT_EQ(seen["evaluations"], 3);  // a head and a row a run
}

TEST(Page, ShowsARunThatHasJustBegun) {
  const std::string browser = chromium();
  if (browser.empty()) GTEST_SKIP() << "no Chromium on the PATH (KILN_CHROMIUM names one)";
  const auto run = test::fresh_folder("page_begun");
  std::ofstream(run / "metrics.jsonl")
      << R"({"step":1,"samples":64,"loss":0.5,"lr":0.0,"samples_per_s":null})"
      << "\n";
  const auto seen = read_in(browser, read_text_file(write_report({run})), kGlance);
  ASSERT_TRUE(seen.is_object());
  EXPECT_EQ(seen["errors"], nlohmann::json::array());
  EXPECT_EQ(seen["newest"], (std::vector<std::string>{"0.5", "0"}));
}

}  // namespace
}  // namespace kiln
