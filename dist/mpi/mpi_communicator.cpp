#include "dist/mpi/mpi_communicator.h"

#include <mpi.h>
#include <sys/prctl.h>

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "core/base/error.h"
#include "dist/flight_recorder.h"
#include "dist/mpi/mpi_check.h"
#include "dist/mpi/mpi_collectives.h"
#include "dist/mpi/mpi_poller.h"
#include "dist/operation.h"

namespace kiln {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kIdlePoll{50};  // how often an idle rank looks for inquiries
// Added to the time-out: the time to ask who is missing and to let one rank tell it.
constexpr seconds kGrace{10};

// Queue between the caller and the communication thread.
class Queue {
 public:
  struct Item {
    Operation operation;
    bool is_done = false;
  };

  std::shared_ptr<Item> push(Operation operation) {
    auto item = std::make_shared<Item>(Item{std::move(operation)});
    const std::lock_guard lock(mutex_);
    items_.push_back(item);
    changed_.notify_all();
    return item;
  }

  // Oldest item, or null after `patience` without one.
  std::shared_ptr<Item> front(milliseconds patience) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, patience, [&] { return is_closed_ || !items_.empty(); });
    return items_.empty() ? nullptr : items_.front();
  }

  void pop() {
    const std::lock_guard lock(mutex_);
    items_.front()->is_done = true;
    items_.front()->operation = {};  // whoever still holds the Work must not hold its tensors
    items_.pop_front();
    ++num_done_;
    changed_.notify_all();
  }

  // From now on, no operation is carried out, neither one that is queued nor a later one.
  void fail(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
    changed_.notify_all();
  }

  // Each operation ahead in the queue may take its time-out. If none ends within it, MPI itself
  // hangs.
  void wait(const Item& item, milliseconds patience) {
    std::unique_lock lock(mutex_);
    while (!item.is_done && !error_) {
      const auto num_done = num_done_;
      const bool is_moving = changed_.wait_for(
          lock, patience, [&] { return item.is_done || error_ || num_done_ != num_done; });
      if (!is_moving) {
        throw communication_error("{}: no answer of the MPI library for {} s",
                                  item.operation.describe(), patience.count() / 1000);
      }
    }
    if (!item.is_done) std::rethrow_exception(error_);
  }

  bool is_done(const Item& item) {
    const std::lock_guard lock(mutex_);
    return item.is_done || error_ != nullptr;
  }

  // The communication thread ends when it has done everything queued so far.
  void close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    changed_.notify_all();
  }
  bool is_closed() {
    const std::lock_guard lock(mutex_);
    return is_closed_;
  }

 private:
  std::mutex mutex_;  // guards everything below, and Item::is_done
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Item>> items_;
  std::int64_t num_done_ = 0;
  std::exception_ptr error_;
  bool is_closed_ = false;
};

class MpiWork final : public Work::Impl {
 public:
  MpiWork(std::shared_ptr<Queue> queue, std::shared_ptr<Queue::Item> item, milliseconds patience)
      : queue_(std::move(queue)), item_(std::move(item)), patience_(patience) {}
  void wait() override { queue_->wait(*item_, patience_); }
  bool is_done() override { return queue_->is_done(*item_); }

 private:
  std::shared_ptr<Queue> queue_;
  std::shared_ptr<Queue::Item> item_;
  const milliseconds patience_;
};

class MpiCommunicator final : public CommunicatorBase {
 public:
  explicit MpiCommunicator(MpiOptions options)
      : timeout_(options.timeout),
        comm_(duplicate(MPI_COMM_WORLD)),
        poller_(comm_, options.timeout),
        collectives_(comm_, poller_, options.max_direct_ranks) {
    KILN_MPI(MPI_Comm_rank(comm_, &rank_));
    KILN_MPI(MPI_Comm_size(comm_, &size_));
    thread_ = std::thread([this] { run(); });
  }

  ~MpiCommunicator() override {
    // After an error nobody waits for what is still queued, and other ranks may never answer.
    if (std::uncaught_exceptions() > 0) poller_.cancel();
    queue_->close();
    thread_.join();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string name() const override { return "mpi"; }

  [[noreturn]] void abort(int exit_code) override {
    // MPI_Abort asks the launcher, which may be gone or stopped.
    std::thread([exit_code] {
      std::this_thread::sleep_for(seconds(5));
      std::_Exit(exit_code);
    }).detach();
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
  }

 private:
  Work submit(Operation operation) override {
    poller_.note_called(operation);
    record_called(FlightLane::kHost, operation);
    auto item = queue_->push(std::move(operation));
    return Work(std::make_shared<MpiWork>(queue_, std::move(item), timeout_ + kGrace));
  }

  void run() {
    prctl(PR_SET_TIMERSLACK, 1000);  // ns; by default the kernel adds 50 us to every short sleep
    try {
      while (true) {
        const auto item = queue_->front(kIdlePoll);
        if (item != nullptr) {
          poller_.begin(item->operation);
          collectives_.run(item->operation);
          poller_.end();
          record_done(FlightLane::kHost, item->operation);
          queue_->pop();
        } else if (queue_->is_closed()) {
          return;
        } else {
          poller_.answer_inquiries();
        }
      }
    } catch (...) {
      queue_->fail(std::current_exception());
    }
  }

  const milliseconds timeout_;
  const MPI_Comm comm_;
  MpiPoller poller_;
  MpiCollectives collectives_;
  int rank_ = 0;
  int size_ = 1;
  std::shared_ptr<Queue> queue_ = std::make_shared<Queue>();
  std::thread thread_;
};

}  // namespace

std::unique_ptr<Communicator> make_mpi_communicator(MpiOptions options) {
  return std::make_unique<MpiCommunicator>(std::move(options));
}

}  // namespace kiln
