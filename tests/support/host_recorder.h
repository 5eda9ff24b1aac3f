#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "core/device/recorder.h"

namespace kiln {

/// Records work on the host by keeping it: a replay carries it out again with the tensors and host
/// values of the recording, as a CUDA graph does, without the speed.
class HostRecorder final : public Recorder {
 public:
  /// Of all recorders of a test, whatever threads they belong to.
  struct Counts {
    std::atomic<int> recorders = 0, rehearsals = 0, recordings = 0, replays = 0;
  };
  explicit HostRecorder(Counts& counts) : counts_(counts) { ++counts_.recorders; }

  void rehearse(const std::function<void()>& work) override {
    ++counts_.rehearsals;
    work();
  }
  void record(std::function<void()> work) override {
    ++counts_.recordings;
    work_ = std::move(work);
  }
  void replay() override {
    ++counts_.replays;
    work_();
  }

  /// `counts` must outlive what is made.
  static MakeRecorder maker(Counts& counts) {
    return [&counts] { return std::make_unique<HostRecorder>(counts); };
  }

 private:
  Counts& counts_;
  std::function<void()> work_;
};

}  // namespace kiln
