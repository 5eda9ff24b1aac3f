#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/torch.h"
#include "models/kernels/device/measured_choice.h"

namespace kiln {

/// One implementation of attend() (attention.h): q [B, H, L, d], k and v [B, H, S, d]; mask
/// undefined, or added to the scores: four dimensions that broadcast to [B, H, L, S]; p the
/// probability of dropout, drawn from the device's generator; is_causal (no mask, L = S): query l
/// sees the keys 0 .. l. Throws for what it does not take.
struct AttentionWay {
  std::string name;
  std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const at::Tensor& mask, double p, bool is_causal)>
      attend;
};

struct AttentionDropout {
  double p = 0.0;
  std::uint64_t seed = 0;  // of the device's generator, if p > 0
};

/// The quickest of several ways for every shape. When a shape comes for the first time, each way is
/// timed, backward included if there will be one, and one line of the log says which was taken.
///
/// The first way is taken untimed while a CUDA graph is recorded, if the shape is new, and always
/// with at::globalContext().deterministicAlgorithms(), where each run must take the same one. So it
/// is to be one that takes everything, and whose backward is deterministic then.
class AttentionChoice {
 public:
  /// Seconds that it takes to carry out `work`.
  using Measure = std::function<double(const std::function<void()>& work)>;
  AttentionChoice(std::vector<AttentionWay> ways, Measure measure)
      : ways_(std::move(ways)), measure_(std::move(measure)) {}

  at::Tensor attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const at::Tensor& mask, AttentionDropout dropout = {}, bool is_causal = false);

 private:
  struct Shape {
    at::ScalarType type;
    at::DeviceIndex device;
    std::int64_t B, H, L, S, d;
    bool has_mask, is_causal, has_backward;
    double p;
    auto operator<=>(const Shape&) const = default;
  };
  std::size_t choose(const Shape& shape, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const at::Tensor& mask);

  std::vector<AttentionWay> ways_;
  Measure measure_;
  MeasuredChoice<Shape> choices_;
};

/// LibTorch's operators on a GPU: its own choice first, then cuDNN, flash, memory-efficient, and
/// plain products with a softmax.
std::vector<AttentionWay> device_attention_ways();

/// The one of this process for tensors on GPUs.
AttentionChoice& device_attention();

}  // namespace kiln
