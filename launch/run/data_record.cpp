#include "launch/run/data_record.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file_io.h"

namespace kiln {
namespace {

std::filesystem::path file_of(const std::filesystem::path& run) { return run / "data.json"; }

}  // namespace

void write_data_info(const std::filesystem::path& run, const DatasetInfo& data) {
  const nlohmann::ordered_json json = {{"kind", data.kind},
                                       {"channels", data.channels},
                                       {"height", data.height},
                                       {"width", data.width},
                                       {"mean", data.mean},
                                       {"std", data.std},
                                       {"class_names", data.class_names},
                                       {"autoencoder_hash", data.autoencoder_hash},
                                       {"latent_scale", data.latent_scale},
                                       {"vocab_size", data.vocab_size},
                                       {"sequence_length", data.sequence_length},
                                       {"has_pairs", data.has_pairs},
                                       {"mask_token", data.mask_token}};
  write_file_atomically(posix_file_system(), file_of(run), json.dump(1) + "\n");
}

DatasetInfo read_data_info(const std::filesystem::path& run) {
  const auto json = nlohmann::json::parse(read_text_file(file_of(run)), nullptr, false);
  if (!json.is_object()) throw checkpoint_error("{}: damaged", file_of(run).string());
  DatasetInfo data;
  const auto read = [&](const char* key, auto& value) { json.at(key).get_to(value); };
  read("kind", data.kind);
  read("channels", data.channels);
  read("height", data.height);
  read("width", data.width);
  read("mean", data.mean);
  read("std", data.std);
  read("class_names", data.class_names);
  read("autoencoder_hash", data.autoencoder_hash);
  read("latent_scale", data.latent_scale);
  read("vocab_size", data.vocab_size);
  read("sequence_length", data.sequence_length);
  read("has_pairs", data.has_pairs);
  read("mask_token", data.mask_token);
  return data;
}

bool has_data_info(const std::filesystem::path& run) {
  return !run.empty() && std::filesystem::exists(file_of(run));
}

}  // namespace kiln
