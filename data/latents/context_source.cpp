#include "data/latents/context_source.h"

#include <string>

#include "core/base/error.h"
#include "data/store/host_tensor.h"

namespace kiln {
namespace {

const FieldInfo& context_field(const Dataset& dataset) {
  const FieldInfo* found = find_context(dataset);
  if (found) return *found;
  throw data_error(
      "the dataset '{}' is of kind '{}' and has no field 'context' of float16 [tokens, width]; "
      "make one with `kiln encode`: of texts, or of images with --context",
      dataset.folder().string(), dataset.manifest().kind);
}

class ContextSource : public BatchSource {
 public:
  explicit ContextSource(std::shared_ptr<const Dataset> dataset)
      : dataset_(std::move(dataset)), field_(context_field(*dataset_)) {}

  std::int64_t num_samples() const override { return dataset_->num_samples(); }
  std::string describe(std::int64_t id) const override { return dataset_->describe(id); }

  Batch allocate(std::int64_t num_samples) const override {
    Batch batch;
    batch.num_samples = num_samples;
    batch.tensors["context"] =
        host_tensor(HostType::kFloat16, {num_samples, field_.shape[0], field_.shape[1]});
    return batch;
  }

  void read(std::span<const std::int64_t> ids, std::int64_t, Batch& batch,
            std::int64_t row_begin) const override {
    auto* rows =
        static_cast<std::uint8_t*>(batch.at("context").data_ptr()) + row_begin * field_.row_bytes();
    for (const std::int64_t id : ids) {
      const Dataset::Place place = dataset_->locate(id);
      dataset_->shard(place.shard)->read_rows("context", place.row, 1, rows);
      rows += field_.row_bytes();
    }
  }

 private:
  std::shared_ptr<const Dataset> dataset_;
  FieldInfo field_;
};

}  // namespace

const FieldInfo* find_context(const Dataset& dataset) {
  const auto found = dataset.manifest().fields.find("context");
  if (found == dataset.manifest().fields.end()) return nullptr;
  if (found->second.dtype != DType::kFloat16 || found->second.shape.size() != 2) {
    throw data_error("the dataset '{}' has a field 'context' that is not float16 [tokens, width]",
                     dataset.folder().string());
  }
  return &found->second;
}

std::shared_ptr<const BatchSource> make_context_source(std::shared_ptr<const Dataset> dataset) {
  return std::make_shared<ContextSource>(std::move(dataset));
}

}  // namespace kiln
