#include "core/report/ledger.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/hash.h"

namespace kiln {

LedgerLoader::LedgerLoader(std::unique_ptr<Loader> loader, const std::filesystem::path& run_folder,
                           int rank, std::int64_t global_batch)
    : loader_(std::move(loader)), global_batch_(global_batch) {
  const auto path = run_folder / "ledger" / fmt::format("{:04}.jsonl", rank);
  std::filesystem::create_directories(path.parent_path());
  file_.open(path, std::ios::app);
  if (!file_) throw checkpoint_error("the ledger {} cannot be written", path.string());
}

void LedgerLoader::start(std::int64_t samples_seen) {
  step_ = samples_seen / global_batch_;
  loader_->start(samples_seen);
}

std::vector<Batch> LedgerLoader::next() {
  std::vector<Batch> batches = loader_->next();
  ++step_;
  for (const Batch& batch : batches) {
    nlohmann::ordered_json line = {{"step", step_},
                                   {"micro_batch", batch.micro_batch},
                                   {"first_position", batch.first_position}};
    for (const auto& [name, tensor] : batch.tensors) {
      KILN_CHECK(tensor.is_contiguous(), "batch tensor '{}'", name);
      line["tensors"][name] = hash_bytes(tensor.const_data_ptr(), tensor.nbytes()).hex();
    }
    file_ << line.dump() << std::endl;
  }
  return batches;
}

}  // namespace kiln
