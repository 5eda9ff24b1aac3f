#include "core/training/row_gather.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/base/work.h"
#include "core/on_all_ranks.h"
#include "core/torch.h"

namespace kiln {
namespace {

// Each column begins where a tensor of any type may.
constexpr std::int64_t kAlignment = 16;

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::string described(const std::string& name, const std::vector<std::int64_t>& shape,
                      at::ScalarType type) {
  return c10::str(name, " ", c10::toString(type), " ", shape, "; ");
}

}  // namespace

RowGather::RowGather(Communicator& host, Communicator& communicator, std::int64_t num_micro_batches)
    : host_(host),
      communicator_(communicator),
      num_micro_batches_(num_micro_batches),
      most_((num_micro_batches + communicator.size() - 1) / communicator.size()) {}

void RowGather::lay_out(const Rows& rows) {
  KILN_CHECK(!rows.empty(), "a micro-batch without rows");
  for (const auto& [name, tensor] : rows) {
    KILN_CHECK(tensor.dim() > 0, "rows '{}' have no axis", name);
    Column column{name, tensor.sizes().vec(), tensor.scalar_type(), part_bytes_,
                  static_cast<std::int64_t>(tensor.nbytes())};
    part_bytes_ += aligned(column.num_bytes);
    columns_.push_back(std::move(column));
  }
  const at::Device device = rows.begin()->second.device();
  own_ = at::zeros({most_, part_bytes_ / 4}, at::device(device).dtype(at::kFloat));
}

void RowGather::put(std::int64_t micro_batch, const Rows& rows) {
  const at::NoGradGuard no_grad;
  if (columns_.empty()) lay_out(rows);
  KILN_CHECK(rows.size() == columns_.size(), "{} kinds of rows, the first micro-batch had {}",
             rows.size(), columns_.size());
  const Range share = share_of(num_micro_batches_, communicator_.rank(), communicator_.size());
  const at::Tensor part = own_[micro_batch - share.begin].view(at::kByte);
  for (const Column& column : columns_) {
    const at::Tensor& tensor = rows.at(column.name);
    KILN_CHECK(tensor.sizes().vec() == column.shape && tensor.scalar_type() == column.type,
               "rows '{}' differ in shape or type between micro-batches", column.name);
    part.narrow(0, column.offset, column.num_bytes)
        .copy_(tensor.detach().contiguous().view({-1}).view(at::kByte));
  }
}

at::Tensor RowGather::gathered() {
  const int ranks = communicator_.size();
  if (ranks == 1) return own_.view(at::kByte).clone();
  const at::Tensor all = at::empty({ranks, most_, part_bytes_ / 4}, own_.options());
  communicator_.all_gather(own_.view({-1}), all.view({-1})).wait();
  const at::Tensor bytes = all.view({ranks * most_, -1}).view(at::kByte);
  if (num_micro_batches_ == ranks * most_) return bytes;
  std::vector<at::Tensor> shares;  // without the padding
  for (int rank = 0; rank < ranks; ++rank) {
    const Range share = share_of(num_micro_batches_, rank, ranks);
    shares.push_back(bytes.narrow(0, rank * most_, share.size()));
  }
  return at::cat(shares);
}

Rows RowGather::all() {
  const at::NoGradGuard no_grad;
  KILN_CHECK(!columns_.empty(), "rank {} has no rows", communicator_.rank());
  if (!has_compared_) {  // ranks that send unequal lengths would wait for ever
    std::string layout;
    for (const Column& column : columns_) {
      layout += described(column.name, column.shape, column.type);
    }
    check_equal_on_all_ranks(host_, "rows", layout);
    has_compared_ = true;
  }
  const at::Tensor bytes = gathered();
  Rows rows;
  for (const Column& column : columns_) {
    std::vector<std::int64_t> shape = column.shape;
    shape[0] *= num_micro_batches_;
    rows[column.name] = bytes.narrow(1, column.offset, column.num_bytes)
                            .contiguous()
                            .view({-1})
                            .view(column.type)
                            .view(shape);
  }
  return rows;
}

}  // namespace kiln
