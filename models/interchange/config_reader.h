#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "core/base/error.h"

namespace kiln {

/// Reads keys of a config.json and remembers what was wrong, so that one error names everything.
class ConfigReader {
 public:
  ConfigReader(const nlohmann::json& config, std::string origin)
      : config_(config), origin_(std::move(origin)) {}

  template <typename T>
  void read(const char* key, T& value) {
    if (!config_.contains(key)) {
      problems_ += fmt::format("\n  {} is missing", key);
      return;
    }
    read_optional(key, value);
  }
  /// Leaves `value` as it is where the key is missing or null.
  template <typename T>
  void read_optional(const char* key, T& value) {
    if (!config_.contains(key) || config_[key].is_null()) return;
    try {
      value = config_[key].get<T>();
    } catch (const nlohmann::json::exception&) {
      problems_ += fmt::format("\n  {} = {} is of the wrong type", key, config_[key].dump());
    }
  }
  /// Sizes of images and patches are a number or [height, width].
  void read_size(const char* key, std::int64_t& height, std::int64_t& width) {
    if (config_.contains(key) && config_[key].is_array() && config_[key].size() == 2) {
      height = config_[key][0].get<std::int64_t>();
      width = config_[key][1].get<std::int64_t>();
    } else {
      read(key, height);
      width = height;
    }
  }
  void require(bool holds, const std::string& problem) {
    if (!holds) problems_ += "\n  " + problem;
  }
  /// The key, where present, must have this value.
  template <typename T>
  void require_value(const char* key, const T& expected) {
    if (!config_.contains(key) || config_[key].is_null()) return;
    require(config_[key] == nlohmann::json(expected),
            fmt::format("{} = {}; only {} is known", key, config_[key].dump(),
                        nlohmann::json(expected).dump()));
  }
  /// Throws Error(kCheckpoint) if anything was wrong.
  void finish() const {
    if (problems_.empty()) return;
    throw checkpoint_error("{}: config.json cannot be followed:{}", origin_, problems_);
  }

 private:
  const nlohmann::json& config_;
  std::string origin_;
  std::string problems_;
};

}  // namespace kiln
