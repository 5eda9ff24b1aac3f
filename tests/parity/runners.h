#pragma once

#include <string>
#include <vector>

#include "tests/parity/case.h"
#include "tests/parity/report.h"

namespace kiln::parity {

/// One kind of case, and what runs our implementation on it and compares. `run` may rename the
/// case's tensors to the names of our tables; it reads every setting from the case.
struct Runner {
  /// "runner" in case.json; of a golden its file's name.
  std::string name;
  /// Where case.json names no runner: the model's class in config.json ("architectures" of
  /// transformers, "_class_name" of diffusers). Empty: by fits() alone.
  std::string config_class = {};
  /// Cases of several training steps ("steps" in case.json); others have one pass.
  bool is_training = false;
  /// Where case.json names no runner: whether the files are of this kind. Null: by config_class.
  bool (*fits)(const Case& reference) = nullptr;
  void (*run)(Case& reference, Report& report) = nullptr;
};
using Runners = std::vector<Runner>;

/// Of all families (families.h). What a folder is called says nothing. Throws Error(kUsage) with
/// the names there are if there is none for the case.
Runner find_runner(const Case& reference);

}  // namespace kiln::parity
