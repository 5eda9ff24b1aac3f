#include "launch/run/data_record.h"

#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/file_io.h"

namespace kiln {
namespace {

std::filesystem::path file_of(const std::filesystem::path& run) { return run / "data.json"; }

}  // namespace

void write_data_info(const std::filesystem::path& run, const DatasetInfo& data) {
  nlohmann::ordered_json json = {{"kind", data.kind},
                                 {"channels", data.channels},
                                 {"height", data.height},
                                 {"width", data.width},
                                 {"mean", data.mean},
                                 {"std", data.std},
                                 {"class_names", data.class_names},
                                 {"vocab_size", data.vocab_size},
                                 {"sequence_length", data.sequence_length}};
  for (const DatasetInfo::View& view : data.views) json["views"].push_back({view.group, view.size});
  for (const auto& [name, value] : data.facts) json[name] = value;
  write_file_atomically(posix_file_system(), file_of(run), json.dump(1) + "\n");
}

DatasetInfo read_data_info(const std::filesystem::path& run) {
  const auto json = nlohmann::json::parse(read_text_file(file_of(run)), nullptr, false);
  if (!json.is_object()) throw checkpoint_error("{}: damaged", file_of(run).string());
  DatasetInfo data;
  std::set<std::string> known;
  const auto read = [&](const char* key, auto& value) {
    json.at(key).get_to(value);
    known.insert(key);
  };
  read("kind", data.kind);
  read("channels", data.channels);
  read("height", data.height);
  read("width", data.width);
  read("mean", data.mean);
  read("std", data.std);
  read("class_names", data.class_names);
  read("vocab_size", data.vocab_size);
  read("sequence_length", data.sequence_length);
  if (json.contains("views")) {
    for (const auto& view : json.at("views")) data.views.push_back({view.at(0), view.at(1)});
    known.insert("views");
  }
  // All others are facts. Older files hold some as numbers and truth values.
  for (const auto& [name, value] : json.items()) {
    if (known.contains(name)) continue;
    data.facts[name] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  return data;
}

bool has_data_info(const std::filesystem::path& run) {
  return !run.empty() && std::filesystem::exists(file_of(run));
}

}  // namespace kiln
