#include <algorithm>
#include <cstdio>

#include "models/layers/positions.h"
#include "tests/parity/runners.h"

namespace kiln::parity {
namespace {

constexpr Bound kPositions{1e-6, 0.0};
// The angle t * w of the stored fp32 embeddings was rounded before the sine.
constexpr Bound kRoundedAngle{1e-4, 0.0};

/// "timestep.WHAT_freq_shiftS" and the like: S.
double shift_of(const std::string& name) {
  const std::string key = "freq_shift";
  const std::size_t found = name.find(key);
  return found == std::string::npos ? 0.0 : std::stod(name.substr(found + key.size()));
}

bool is_sincos(const Case& reference) {
  return std::ranges::any_of(reference.tensors, [](const auto& item) {
    return item.first.starts_with("mae.grid") || item.first.starts_with("dit.grid") ||
           item.first == "timestep.t";
  });
}

void run_sincos(Case& reference, Report& report) {
  for (const auto& [name, stored] : reference.tensors) {
    long grid = 0, dim = 0;
    const bool is_mae = std::sscanf(name.c_str(), "mae.grid%ld.dim%ld", &grid, &dim) == 2;
    const bool is_dit = std::sscanf(name.c_str(), "dit.grid%ld.dim%ld", &grid, &dim) == 2;
    if (is_mae || is_dit) {
      report.compare(name, sincos_2d(dim, grid, grid, is_mae), kPositions);
    } else if (name != "timestep.t") {
      const at::Tensor ours =
          timestep_embedding(reference.at("timestep.t"), stored.size(1), shift_of(name));
      report.compare(name, ours, name.ends_with("_f64") ? kFloat64Bound : kRoundedAngle);
    }
  }
}

}  // namespace

Runners sincos_runners() { return {{.name = "sincos", .fits = is_sincos, .run = run_sincos}}; }

}  // namespace kiln::parity
