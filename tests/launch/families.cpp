#include "tests/launch/families.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/run_fixture.h"

namespace kiln::test {

namespace {

void expect_success(const std::vector<std::string>& words) {
  const Outcome outcome = run(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

/// 600 sentences of a made-up language: subject, verb, object, from a few stems and endings.
void write_corpus(const std::filesystem::path& path) {
  const char* const stems[] = {"bal", "ker", "lum", "mor", "nis",
                               "pol", "ras", "tev", "vun", "zil"};
  const char* const endings[] = {"a", "en", "ir", "os", "u"};
  std::ofstream out(path);
  for (int i = 0; i < 600; ++i) {
    for (int word = 0; word < 4 + i % 5; ++word) {
      const int n = i * 7 + word * 13 + i / 9;
      out << (word ? " " : "") << stems[n % 10] << stems[(n / 10) % 10] << endings[n % 5];
    }
    out << ".\n" << (i % 12 == 11 ? "\n" : "");
  }
}

const std::filesystem::path& tiny_text() {
  static const std::filesystem::path dataset = [] {
    const auto folder = fresh_folder("tiny_text");
    const auto corpus = (folder / "corpus.txt").string();
    const auto vocabulary = (folder / "vocab.txt").string();
    write_corpus(corpus);
    expect_success(
        kiln({"tokenizer", "train", corpus, "--vocab-size", "120", "--out", vocabulary}));
    expect_success(kiln({"data", "import", "text", corpus, "--vocab", vocabulary, "--out",
                         (folder / "dataset").string()}));
    return folder / "dataset";
  }();
  return dataset;
}

struct Latents {
  std::filesystem::path dataset, autoencoder;
};

const Latents& tiny_latents() {
  static const Latents latents = [] {
    const auto folder = fresh_folder("tiny_latents");
    std::ofstream(folder / "autoencoder.toml") << fmt::format(
        "[run]\nname = \"autoencoder\"\ndir = \"{}\"\nthreads = 1\n[data]\npath = \"{}\"\n"
        "[model]\nname = \"autoencoder\"\npreset = \"tiny_kl\"\n"
        "[train]\nsteps = 2\nglobal_batch = 16\nmicro_batch = 8\n[optimizer]\nlr = 1e-3\n",
        (folder / "autoencoder").string(), tiny_images().string());
    expect_success(kiln({"train", (folder / "autoencoder.toml").string()}));
    expect_success(kiln({"encode", (folder / "autoencoder").string(), "--data",
                         tiny_images().string(), "--out", (folder / "dataset").string()}));
    return Latents{folder / "dataset", folder / "autoencoder"};
  }();
  return latents;
}

std::string model_and_data(Family family) {
  if (family == Family::kBert) {
    return fmt::format(
        "[data]\npath = \"{}\"\nsequence_length = 32\n"
        "[model]\nname = \"bert\"\npreset = \"tiny\"\ndim = 32\nmlp_dim = 64\nmax_positions = 32\n",
        tiny_text().string());
  }
  return fmt::format(
      "[data]\npath = \"{}\"\n"
      "[model]\nname = \"latent_diffusion\"\npreset = \"dit_tiny\"\nautoencoder = \"{}\"\n"
      "formulation = \"flow\"\nlabel_dropout = 0.1\n",
      tiny_latents().dataset.string(), tiny_latents().autoencoder.string());
}

}  // namespace

const std::filesystem::path& tiny_latents_dataset() { return tiny_latents().dataset; }

std::vector<std::string> train_family(Family family, int ranks,
                                      const std::filesystem::path& run_dir,
                                      const std::vector<std::string>& overrides) {
  if (family == Family::kMae) return train(ranks, run_dir, overrides);
  std::filesystem::create_directories(run_dir.parent_path());
  const auto path = run_dir.parent_path() / "family.toml";
  std::ofstream(path) << model_and_data(family)
                      << "[run]\nname = \"family\"\nseed = 5\nthreads = 1\n"
                         "[train]\nglobal_batch = 16\nmicro_batch = 2\n"
                         "clip_norm = 1.0\n[optimizer]\nlr = 1e-3\n[schedule]\nwarmup_steps = 5\n"
                         "[ema]\ndecay = 0.9\n[parallel]\ntimeout_s = 30\nbucket_mb = 0.02\n"
                         "[checkpoint]\nevery = 0\n[log]\nevery = 1\n";
  std::vector<std::string> words =
      kiln({"train", path.string(), "run.dir=" + run_dir.string(), "--json"});
  words.insert(words.end(), overrides.begin(), overrides.end());
  return ranks == 0 ? words : mpirun(ranks, words);
}

}  // namespace kiln::test
