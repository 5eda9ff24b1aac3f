#include "dist/thread_communicator.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "dist/host_sum.h"
#include "dist/operation.h"

namespace kiln {
namespace {

// An operation under way: the ranks it still waits for, and whether it is done.
struct Pending {
  std::string description;
  std::vector<int> missing;
  bool is_done = false;
};

// A collective begins when every rank has made the same call.
struct Collective {
  std::vector<std::optional<Operation>> calls;
  std::shared_ptr<Pending> pending = std::make_shared<Pending>();
};

// One half of a message that waits for the other.
struct Half {
  at::Tensor tensor;
  std::shared_ptr<Pending> pending;
};

std::byte* bytes(const at::Tensor& tensor) { return static_cast<std::byte*>(tensor.data_ptr()); }

void copy_bytes(const at::Tensor& from, std::byte* to) {
  if (bytes(from) != to) std::memcpy(to, from.data_ptr(), from.nbytes());
}

class Group {
 public:
  Group(int size, std::chrono::milliseconds timeout)
      : size_(size), timeout_(timeout), num_collectives_(size, 0) {}

  int size() const { return size_; }

  std::shared_ptr<Pending> submit(int rank, Operation operation) {
    const std::lock_guard lock(mutex_);
    auto pending = operation.kind == Operation::Kind::kExchange
                       ? add_transfers(rank, operation)
                       : add_collective(rank, std::move(operation));
    changed_.notify_all();
    return pending;
  }

  void wait(const Pending& pending) {
    std::unique_lock lock(mutex_);
    const bool is_in_time =
        changed_.wait_for(lock, timeout_, [&] { return pending.is_done || aborted_with_; });
    if (pending.is_done) return;
    if (aborted_with_) throw Error(*aborted_with_, aborted_because_);
    KILN_CHECK(!is_in_time);
    throw communication_error("{} waited {} ms: rank {} did not arrive", pending.description,
                              timeout_.count(), fmt::join(pending.missing, ", "));
  }

  bool is_done(const Pending& pending) {
    const std::lock_guard lock(mutex_);
    return pending.is_done;
  }

  [[noreturn]] void abort(int rank, int exit_code) {
    const std::lock_guard lock(mutex_);
    aborted_with_ = static_cast<ExitCode>(exit_code);
    aborted_because_ = fmt::format("rank {} ended the job with exit code {}", rank, exit_code);
    changed_.notify_all();
    throw Error(*aborted_with_, aborted_because_);
  }

 private:
  std::shared_ptr<Pending> add_collective(int rank, Operation operation) {
    const std::int64_t number = num_collectives_[rank]++;
    Collective& collective = collectives_[number];
    auto pending = collective.pending;
    if (collective.calls.empty()) {
      collective.calls.resize(size_);
      pending->description = operation.describe();
      for (int other = 0; other < size_; ++other) pending->missing.push_back(other);
    }
    std::erase(pending->missing, rank);
    collective.calls[rank] = std::move(operation);
    if (pending->missing.empty()) {
      run(collective);
      pending->is_done = true;
      collectives_.erase(number);
    }
    return pending;
  }

  std::shared_ptr<Pending> add_transfers(int rank, const Operation& operation) {
    auto pending = std::make_shared<Pending>();
    pending->description = operation.describe();
    for (const auto& transfer : operation.transfers) pending->missing.push_back(transfer.peer);
    pending->is_done = pending->missing.empty();
    for (const auto& transfer : operation.transfers) {
      const bool is_send = transfer.direction == Transfer::Direction::kSend;
      const auto route = is_send ? std::pair(rank, transfer.peer) : std::pair(transfer.peer, rank);
      (is_send ? sent_ : receiving_)[route].push_back({transfer.tensor, pending});
      match(route);
    }
    return pending;
  }

  void match(std::pair<int, int> route) {
    auto& sent = sent_[route];
    auto& receiving = receiving_[route];
    if (sent.empty() || receiving.empty()) return;
    KILN_CHECK(sent.front().tensor.nbytes() == receiving.front().tensor.nbytes(),
               "rank {} sends {} bytes where rank {} expects {}", route.first,
               sent.front().tensor.nbytes(), route.second, receiving.front().tensor.nbytes());
    copy_bytes(sent.front().tensor, bytes(receiving.front().tensor));
    arrive(*sent.front().pending, route.second);
    arrive(*receiving.front().pending, route.first);
    sent.pop_front();
    receiving.pop_front();
  }

  static void arrive(Pending& pending, int peer) {
    const auto found = std::find(pending.missing.begin(), pending.missing.end(), peer);
    pending.missing.erase(found);
    pending.is_done = pending.missing.empty();
  }

  void run(Collective& collective) {
    const Operation& first = *collective.calls[0];
    for (const auto& call : collective.calls) {
      KILN_CHECK(call->kind == first.kind && call->describe() == first.describe(),
                 "ranks call different operations: {} and {}", first.describe(), call->describe());
    }
    switch (first.kind) {
      case Operation::Kind::kAllReduce:
        return all_reduce(collective.calls);
      case Operation::Kind::kReduceScatter:
        return reduce_scatter(collective.calls);
      case Operation::Kind::kAllGather:
        return all_gather(collective.calls);
      case Operation::Kind::kBroadcast:
        for (auto& call : collective.calls) {
          copy_bytes(collective.calls[first.root]->input, bytes(call->input));
        }
        return;
      case Operation::Kind::kExchange:
      case Operation::Kind::kBarrier:
      case Operation::Kind::kTask:
        return;
    }
  }

  using Calls = std::vector<std::optional<Operation>>;

  static void all_reduce(const Calls& calls) {
    const at::Tensor& sum = calls[0]->input;
    std::vector<const void*> parts;
    for (const auto& call : calls) parts.push_back(call->input.data_ptr());
    add_all(sum.data_ptr(), parts, sum.numel(), sum.scalar_type());
    for (const auto& call : calls) copy_bytes(sum, bytes(call->input));
  }

  static void reduce_scatter(const Calls& calls) {
    for (std::size_t rank = 0; rank < calls.size(); ++rank) {
      const at::Tensor& output = calls[rank]->output;
      std::vector<const void*> parts;
      for (const auto& call : calls) parts.push_back(bytes(call->input) + rank * output.nbytes());
      add_all(output.data_ptr(), parts, output.numel(), output.scalar_type());
    }
  }

  static void all_gather(const Calls& calls) {
    for (std::size_t from = 0; from < calls.size(); ++from) {
      const at::Tensor& part = calls[from]->input;
      for (const auto& to : calls) copy_bytes(part, bytes(to->output) + from * part.nbytes());
    }
  }

  const int size_;
  const std::chrono::milliseconds timeout_;

  std::mutex mutex_;  // guards everything below
  std::condition_variable changed_;
  std::vector<std::int64_t> num_collectives_;  // called so far, by rank
  std::map<std::int64_t, Collective> collectives_;
  std::map<std::pair<int, int>, std::deque<Half>> sent_;  // by (from, to)
  std::map<std::pair<int, int>, std::deque<Half>> receiving_;
  std::optional<ExitCode> aborted_with_;
  std::string aborted_because_;
};

class ThreadWork final : public Work::Impl {
 public:
  ThreadWork(std::shared_ptr<Group> group, std::shared_ptr<Pending> pending)
      : group_(std::move(group)), pending_(std::move(pending)) {}
  void wait() override { group_->wait(*pending_); }
  bool is_done() override { return group_->is_done(*pending_); }

 private:
  std::shared_ptr<Group> group_;
  std::shared_ptr<Pending> pending_;
};

class ThreadCommunicator final : public CommunicatorBase {
 public:
  ThreadCommunicator(std::shared_ptr<Group> group, int rank)
      : group_(std::move(group)), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return group_->size(); }
  std::string name() const override { return "thread"; }
  [[noreturn]] void abort(int exit_code) override { group_->abort(rank_, exit_code); }

 private:
  Work submit(Operation operation) override {
    if (operation.kind == Operation::Kind::kTask) return run(operation.task);
    last_.push_back(group_->submit(rank_, std::move(operation)));
    std::erase_if(last_, [&](const auto& pending) {
      return pending != last_.back() && group_->is_done(*pending);
    });
    return Work(std::make_shared<ThreadWork>(group_, last_.back()));
  }

  // There is no second thread, so the caller waits here for the operations that were queued before
  // the task.
  Work run(const std::function<void()>& task) {
    for (const auto& pending : last_) group_->wait(*pending);
    last_.clear();
    task();
    return {};
  }

  std::shared_ptr<Group> group_;
  const int rank_;
  std::vector<std::shared_ptr<Pending>> last_;  // queued and perhaps not done
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_communicators(
    int size, std::chrono::milliseconds timeout) {
  auto group = std::make_shared<Group>(size, timeout);
  std::vector<std::unique_ptr<Communicator>> communicators;
  for (int rank = 0; rank < size; ++rank) {
    communicators.push_back(std::make_unique<ThreadCommunicator>(group, rank));
  }
  return communicators;
}

}  // namespace kiln
