#pragma once

#include <nlohmann/json.hpp>
#include <vector>

namespace kiln {

/// What repeated measurements say.
struct Spread {
  double min = 0.0;
  double median = 0.0;  // of an even number: the mean of the middle two
  double max = 0.0;
};

/// All zero for no values.
Spread spread_of(std::vector<double> values);

/// {"min": ..., "median": ..., "max": ...}
nlohmann::ordered_json to_json(const Spread& spread);

}  // namespace kiln
