#include "data/text/text_rows.h"

#include "core/base/error.h"
#include "data/store/host_tensor.h"

namespace kiln {

Batch allocate_text(std::int64_t num_samples, std::int64_t length, bool has_pairs) {
  Batch batch;
  batch.num_samples = num_samples;
  for (const char* name : {"tokens", "document", "position"}) {
    batch.tensors[name] = host_tensor(HostType::kInt64, {num_samples, length});
  }
  batch.tensors["kind"] = host_tensor(HostType::kUInt8, {num_samples, length});
  if (has_pairs) {
    batch.tensors["segment"] = host_tensor(HostType::kInt64, {num_samples, length});
    batch.tensors["pair_label"] = host_tensor(HostType::kInt64, {num_samples});
  }
  return batch;
}

TextRow::TextRow(Batch& batch, std::int64_t row) : length_(batch.at("tokens").size(1)) {
  const std::int64_t begin = row * length_;
  tokens_ = batch.at("tokens").data_ptr<std::int64_t>() + begin;
  kind_ = batch.at("kind").data_ptr<std::uint8_t>() + begin;
  document_ = batch.at("document").data_ptr<std::int64_t>() + begin;
  position_ = batch.at("position").data_ptr<std::int64_t>() + begin;
  if (!batch.tensors.contains("segment")) return;
  segment_ = batch.at("segment").data_ptr<std::int64_t>() + begin;
  pair_label_ = batch.at("pair_label").data_ptr<std::int64_t>() + row;
}

void TextRow::append(std::int64_t token, TokenKind kind) {
  KILN_CHECK(at_ < length_, "a row of {} tokens is full", length_);
  tokens_[at_] = token;
  kind_[at_] = static_cast<std::uint8_t>(kind);
  document_[at_] = document_value_;
  position_[at_] = position_value_++;
  if (segment_ != nullptr) segment_[at_] = segment_value_;
  ++at_;
}

void TextRow::next_document() {
  if (at_ == 0) return;
  ++document_value_;
  position_value_ = 0;
}

void TextRow::set_pair_label(std::int64_t label) { *pair_label_ = label; }

void TextRow::pad(std::int64_t pad_token) {
  document_value_ = -1;
  position_value_ = 0;
  segment_value_ = 0;
  while (at_ < length_) {
    append(pad_token, TokenKind::kSpecial);
    position_value_ = 0;
  }
}

}  // namespace kiln
