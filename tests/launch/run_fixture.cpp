#include "tests/launch/run_fixture.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <thread>

namespace kiln::test {

namespace {

constexpr int kImages = 512;
constexpr int kSide = 16;

void append_big_endian(std::string& out, std::uint32_t value) {
  for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<char>(value >> shift));
}

/// Class c is a bright square in quarter c, on a background that varies from picture to picture.
std::string pixels(int image) {
  const int label = image % 4;
  std::string out;
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      const bool inside =
          (y >= kSide / 2) == (label / 2 == 1) && (x >= kSide / 2) == (label % 2 == 1);
      out.push_back(static_cast<char>(inside ? 200 + image % 50 : (x * 7 + y * 3 + image) % 90));
    }
  }
  return out;
}

void write_idx_files(const std::filesystem::path& folder) {
  std::string images, labels;
  append_big_endian(images, 0x803);
  for (const int value : {kImages, kSide, kSide})
    append_big_endian(images, static_cast<std::uint32_t>(value));
  append_big_endian(labels, 0x801);
  append_big_endian(labels, kImages);
  for (int i = 0; i < kImages; ++i) {
    images += pixels(i);
    labels.push_back(static_cast<char>(i % 4));
  }
  std::ofstream(folder / "train-images-idx3-ubyte", std::ios::binary) << images;
  std::ofstream(folder / "train-labels-idx1-ubyte", std::ios::binary) << labels;
}

}  // namespace

const std::filesystem::path& tiny_images() {
  static const std::filesystem::path dataset = [] {
    const auto folder = fresh_folder("tiny_images");
    write_idx_files(folder);
    const Outcome outcome = run(kiln(
        {"data", "import", "idx", (folder / "train-images-idx3-ubyte").string(),
         (folder / "train-labels-idx1-ubyte").string(), "--out", (folder / "dataset").string()}));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return folder / "dataset";
  }();
  return dataset;
}

std::filesystem::path tiny_mae_recipe(const std::filesystem::path& folder) {
  const auto path = folder / "tiny_mae.toml";
  std::ofstream(path) << fmt::format(R"([run]
name = "tiny"
seed = 5
threads = 1
[data]
path = "{}"
crop = "random_resized"
flip = true
size = 16
[model]
name = "mae"
preset = "tiny"
patch = 4
dim = 32
depth = 2
heads = 2
decoder_dim = 16
decoder_depth = 1
decoder_heads = 2
[train]
steps = 20
global_batch = 32
micro_batch = 4
[optimizer]
lr = 1e-3
betas = [0.9, 0.95]
weight_decay = 0.05
[schedule]
warmup_steps = 5
[ema]
decay = 0.9
[parallel]
timeout_s = 30
bucket_mb = 0.02
[checkpoint]
every = 0
[log]
every = 1
)",
                                     tiny_images().string());
  return path;
}

std::vector<std::string> train(int ranks, const std::filesystem::path& run_dir,
                               const std::vector<std::string>& overrides) {
  std::filesystem::create_directories(run_dir.parent_path());
  std::vector<std::string> words = kiln({"train", tiny_mae_recipe(run_dir.parent_path()).string(),
                                         "run.dir=" + run_dir.string(), "--json"});
  words.insert(words.end(), overrides.begin(), overrides.end());
  return ranks == 0 ? words : mpirun(ranks, words);
}

std::vector<std::string> launch(const std::vector<std::string>& words,
                                const std::filesystem::path& run_dir,
                                const std::vector<std::string>& overrides) {
  std::vector<std::string> command = kiln({"launch"});
  command.insert(command.end(), words.begin(), words.end());
  command.push_back("--");
  const std::vector<std::string> trained = train(0, run_dir, overrides);
  command.insert(command.end(), trained.begin() + 1, trained.end());
  return command;
}

namespace {

std::vector<pid_t> processes_of(const std::filesystem::path& run_dir, const std::string& program,
                                bool is_supervisor) {
  std::vector<pid_t> found;
  for (const pid_t pid : processes_with("run.dir=" + run_dir.string())) {
    std::error_code ended;
    const auto executable = std::filesystem::read_symlink(fmt::format("/proc/{}/exe", pid), ended);
    std::string words;
    std::getline(std::ifstream(fmt::format("/proc/{}/cmdline", pid)), words);
    const bool launches = words.find(std::string("kiln") + '\0' + "launch") != std::string::npos;
    if (!ended && executable.filename().string().starts_with(program) && launches == is_supervisor)
      found.push_back(pid);
  }
  return found;
}

}  // namespace

std::vector<pid_t> ranks_of(const std::filesystem::path& run_dir) {
  return processes_of(run_dir, "kiln", false);
}

std::vector<pid_t> launchers_of(const std::filesystem::path& run_dir) {
  return processes_of(run_dir, "orterun", false);
}

std::int64_t last_logged_step(const std::filesystem::path& run_dir) {
  std::int64_t step = 0;
  std::ifstream in(run_dir / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_object()) step = parsed.value("step", step);
  }
  return step;
}

bool wait_for_step(const Program& program, const std::filesystem::path& run_dir, std::int64_t step,
                   std::chrono::seconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (last_logged_step(run_dir) < step) {
    if (program.has_ended() || std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

std::map<std::int64_t, double> losses(const std::filesystem::path& run_dir) {
  std::map<std::int64_t, double> values;
  std::ifstream in(run_dir / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const auto parsed = nlohmann::json::parse(line);
    if (parsed.contains("loss")) values[parsed["step"]] = parsed["loss"];
  }
  return values;
}

std::vector<std::string> ledger(const std::filesystem::path& run_dir) {
  std::vector<std::string> lines;
  for (const auto& entry : std::filesystem::directory_iterator(run_dir / "ledger")) {
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) lines.push_back(line);
  }
  std::ranges::sort(lines);
  return lines;
}

}  // namespace kiln::test
