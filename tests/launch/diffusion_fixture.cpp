#include "tests/launch/diffusion_fixture.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace kiln::test {

namespace {

std::filesystem::path write_recipe(const std::filesystem::path& folder, const char* name,
                                   const std::string& text) {
  std::filesystem::create_directories(folder);
  const auto path = folder / name;
  std::ofstream(path) << text << R"(
[parallel]
timeout_s = 60
bucket_mb = 0.02
[checkpoint]
every = 0
[log]
every = 1
)";
  return path;
}

void expect_done(const std::vector<std::string>& words) {
  const Outcome outcome = run(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
}

}  // namespace

// Of seed 5 one of the discriminator's leaky activations lies so close to its kink, on one kind of
// processor, that the order of sums decides on which side: the loss then differs by 2e-5.
std::filesystem::path tiny_autoencoder_recipe(const std::filesystem::path& folder) {
  return write_recipe(folder, "autoencoder.toml",
                      fmt::format(R"([run]
name = "autoencoder"
seed = 6
threads = 1
[data]
path = "{}"
[model]
name = "autoencoder"
preset = "tiny_kl"
channels = 8
multipliers = [1, 2]
norm_groups = 4
z_channels = 2
latent_channels = 2
discriminator = true
discriminator_start = 6
discriminator_weight = 0.1
discriminator_layers = 1
discriminator_channels = 4
[train]
steps = 12
global_batch = 32
micro_batch = 4
[optimizer]
lr = 1e-3
betas = [0.5, 0.9]
[schedule]
warmup_steps = 2
[ema]
decay = 0.9
)",
                                  tiny_images().string()));
}

std::filesystem::path tiny_diffusion_recipe(const std::filesystem::path& folder,
                                            const std::filesystem::path& latents) {
  return write_recipe(folder, "diffusion.toml",
                      fmt::format(R"([run]
name = "diffusion"
seed = 5
threads = 1
[data]
path = "{}"
[model]
name = "latent_diffusion"
preset = "dit_tiny"
dim = 16
depth = 1
heads = 2
[train]
steps = 8
global_batch = 32
micro_batch = 4
clip_norm = 1.0
[optimizer]
lr = 1e-3
[schedule]
warmup_steps = 2
[ema]
decay = 0.9
)",
                                  latents.string()));
}

std::vector<std::string> train_recipe(int ranks, const std::filesystem::path& recipe,
                                      const std::filesystem::path& run_dir,
                                      const std::vector<std::string>& overrides) {
  std::vector<std::string> words =
      kiln({"train", recipe.string(), "run.dir=" + run_dir.string(), "--json"});
  words.insert(words.end(), overrides.begin(), overrides.end());
  return ranks == 0 ? words : mpirun(ranks, words);
}

const Stages& stages() {
  static const Stages made = [] {
    const auto folder = fresh_folder("stages");
    Stages all{folder / "autoencoder", folder / "latents", folder / "diffusion"};
    expect_done(train_recipe(0, tiny_autoencoder_recipe(folder), all.autoencoder));
    expect_done(kiln({"encode", all.autoencoder.string(), "--data", tiny_images().string(), "--out",
                      all.latents.string()}));
    expect_done(train_recipe(0, tiny_diffusion_recipe(folder, all.latents), all.diffusion,
                             {"model.autoencoder=" + all.autoencoder.string()}));
    return all;
  }();
  return made;
}

std::string bytes_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  return bytes.str();
}

Outcome DiffusionPipeline::run_kiln(int ranks, std::vector<std::string> words) {
  words = kiln(words);
  return run(ranks == 0 ? words : mpirun(ranks, words));
}

nlohmann::json DiffusionPipeline::json_of(int ranks, std::vector<std::string> words) {
  words.push_back("--json");
  const Outcome outcome = run_kiln(ranks, words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  return outcome.exit_code == 0 ? outcome.json() : nlohmann::json::object();
}

void DiffusionPipeline::expect_error(const std::vector<std::string>& words, int exit_code,
                                     const std::string& text) {
  const Outcome outcome = run_kiln(0, words);
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
  EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
}

void DiffusionPipeline::expect_training_error(const std::filesystem::path& recipe,
                                              const std::vector<std::string>& overrides,
                                              const std::string& text) {
  const Outcome outcome = run(train_recipe(0, recipe, folder_ / "run", overrides));
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_NE(outcome.err.find(text), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run" / "checkpoints"));
}

}  // namespace kiln::test
