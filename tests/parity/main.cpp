// Holds our models against stored computations of other implementations.
//
//   parity [--float64] [--device cuda] CASE...
//   parity --reexport CASE OUT    the case's model, imported and exported again
//
// CASE is a folder with case.safetensors and the files around it, a golden tiny_*.safetensors, or a
// folder of goldens. Prints a line for each tensor out of bounds, then one line of JSON per case,
// with several cases a last one for all. Exit status 1 if anything failed. On a GPU models run, and
// optimizers; tables, samplers and tokenizers are the host's in any case. Bounds: report.h.

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/base/error.h"
#include "models/interchange/huggingface.h"
#include "tests/parity/runners.h"

namespace kiln::parity {
namespace {

struct Choice {
  at::ScalarType type = at::kFloat;
  at::Device device = at::kCPU;
};

struct Totals {
  std::int64_t cases = 0, tensors = 0, failed = 0;
  double worst_ratio = 0.0;
};

void run_case(const std::filesystem::path& path, const Choice& choice, Totals& totals) {
  Case reference = load_case(path, choice.type, choice.device);
  const Runner runner = find_runner(reference);
  Report report(reference);
  runner.run(reference, report);
  report.finish();
  fmt::print("{}\n", report.summary());
  ++totals.cases;
  totals.tensors += report.num_tensors();
  totals.failed += report.num_failed();
  totals.worst_ratio = std::max(totals.worst_ratio, report.worst_ratio());
}

at::Device device_called(std::string_view name) {
  if (name == "cpu") return at::kCPU;
  if (name != "cuda") throw usage_error("--device {}: expected cpu or cuda", name);
  if (!torch::cuda::is_available()) {
    throw usage_error(
        "--device cuda: this program sees no GPU: no driver, none visible "
        "(CUDA_VISIBLE_DEVICES), or a build without CUDA");
  }
  at::globalContext().setAllowTF32CuDNN(false);
  return {at::kCUDA, 0};
}

int run(int argc, char** argv) {
  at::set_num_threads(1);
  if (argc == 4 && std::string_view(argv[1]) == "--reexport") {
    export_huggingface(*import_huggingface(argv[2]).objective, argv[3]);
    return 0;
  }
  Choice choice;
  std::vector<std::filesystem::path> paths;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--float64") {
      choice.type = at::kDouble;
    } else if (std::string_view(argv[i]) == "--device" && i + 1 < argc) {
      choice.device = device_called(argv[++i]);
    } else {
      for (auto& path : expand(argv[i])) paths.push_back(std::move(path));
    }
  }
  if (paths.empty()) throw usage_error("usage: parity [--float64] [--device cuda] CASE...");
  Totals totals;
  for (const auto& path : paths) run_case(path, choice, totals);
  if (totals.cases > 1) {
    fmt::print("{}\n", summary_line("all", totals.tensors, totals.failed, totals.worst_ratio));
  }
  return totals.failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kiln::parity

int main(int argc, char** argv) {
  try {
    return kiln::parity::run(argc, argv);
  } catch (const kiln::Error& error) {
    fmt::print(stderr, "parity: {}\n", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "parity: {}\n", error.what());
    return 1;
  }
}
