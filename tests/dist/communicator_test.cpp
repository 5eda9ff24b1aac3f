// One suite for all communicators. Inputs are small integers, so that every order of additions
// gives the same bits in every type and results are compared for equality.

#include "core/communicator.h"

#include <gtest/gtest.h>
#include <mpi.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/torch.h"
#include "dist/local_communicator.h"
#include "dist/mpi/mpi_communicator.h"
#include "dist/nccl/nccl_communicator.h"
#include "dist/thread_communicator.h"

namespace kiln {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLong{60'000};
constexpr milliseconds kShort{300};

enum class Backend { kLocal, kThread, kMpiDirect, kMpiNative, kNccl };

int world_size() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

int world_rank() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

int num_gpus() { return std::max(1, static_cast<int>(torch::cuda::device_count())); }

class CommunicatorTest : public testing::TestWithParam<Backend> {
 protected:
  // Runs body on as many ranks as mpirun started: in threads, or as this rank of the job.
  static void on_all_ranks(milliseconds timeout, const std::function<void(Communicator&)>& body) {
    switch (GetParam()) {
      case Backend::kLocal:
        return body(*make_local_communicator());
      case Backend::kThread:
        return on_threads(timeout, body);
      case Backend::kMpiDirect:
        return body(*make_mpi_communicator({.timeout = timeout}));
      case Backend::kMpiNative:
        return body(*make_mpi_communicator({.timeout = timeout, .max_direct_ranks = 0}));
      case Backend::kNccl:
        return on_gpus(timeout, body);
    }
  }

  // Where the tensors of this backend live.
  static at::Device device() {
    const auto index = static_cast<at::DeviceIndex>(world_rank() % num_gpus());
    return GetParam() == Backend::kNccl ? at::Device(at::kCUDA, index) : at::Device(at::kCPU);
  }

 private:
  static void on_gpus(milliseconds timeout, const std::function<void(Communicator&)>& body) {
    // NCCL refuses two ranks on one GPU of a host, but not on what it takes for two hosts.
    if (world_size() > num_gpus()) setenv("NCCL_HOSTID", std::to_string(world_rank()).c_str(), 1);
    const auto host = make_mpi_communicator({.timeout = timeout});
    body(*make_nccl_communicator(*host, {.timeout = timeout, .device = device().index()}));
  }

  static void on_threads(milliseconds timeout, const std::function<void(Communicator&)>& body) {
    if (world_rank() != 0) return;  // once is enough
    auto communicators = make_thread_communicators(world_size(), timeout);
    std::vector<std::jthread> threads;
    for (auto& communicator : communicators) {
      threads.emplace_back([&] { body(*communicator); });
    }
  }
};

// n small integers of a rank, different from those of other ranks.
at::Tensor values(int rank, std::int64_t n, at::ScalarType type, at::Device device = at::kCPU) {
  return (at::arange(n, at::kLong).remainder(13) + 7 * rank).to(type).to(device);
}

at::Tensor filled(std::int64_t n, std::int64_t value, at::ScalarType type, at::Device device) {
  return at::full({n}, value, at::TensorOptions(device).dtype(type));
}

// Equal to what is expected, given on the host.
bool are_equal(const at::Tensor& result, const at::Tensor& expected) {
  return at::equal(result.cpu(), expected);
}

at::Tensor sum_of_values(int size, std::int64_t n, at::ScalarType type) {
  at::Tensor sum = at::zeros({n}, at::kLong);
  for (int rank = 0; rank < size; ++rank) sum += values(rank, n, at::kLong);
  return sum.to(type);
}

const at::ScalarType kSummable[] = {at::kFloat, at::kDouble, at::kBFloat16, at::kLong};
const std::int64_t kSizes[] = {1, 3, 1000, 30'007};

TEST_P(CommunicatorTest, AllReduceAdds) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    for (const auto type : kSummable) {
      for (const auto n : kSizes) {
        at::Tensor tensor = values(communicator.rank(), n, type, device());
        communicator.all_reduce(tensor).wait();
        EXPECT_TRUE(are_equal(tensor, sum_of_values(communicator.size(), n, type))) << type << n;
      }
    }
  });
}

TEST_P(CommunicatorTest, ReduceScatterAddsOwnPart) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    for (const auto type : kSummable) {
      for (const auto n : kSizes) {
        const std::int64_t total = n * communicator.size();
        const at::Tensor input = values(communicator.rank(), total, type, device());
        at::Tensor output = filled(n, -1, type, device());
        communicator.reduce_scatter(input, output).wait();
        const at::Tensor sum = sum_of_values(communicator.size(), total, type);
        EXPECT_TRUE(are_equal(output, sum.narrow(0, n * communicator.rank(), n))) << type << n;
      }
    }
  });
}

TEST_P(CommunicatorTest, ReduceScatterOutputMayBePartOfInput) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    const std::int64_t n = 1000;
    const std::int64_t total = n * communicator.size();
    const at::Tensor input = values(communicator.rank(), total, at::kFloat, device());
    const at::Tensor output = input.narrow(0, n * communicator.rank(), n);
    communicator.reduce_scatter(input, output).wait();
    const at::Tensor sum = sum_of_values(communicator.size(), total, at::kFloat);
    EXPECT_TRUE(are_equal(output, sum.narrow(0, n * communicator.rank(), n)));
  });
}

TEST_P(CommunicatorTest, AllGatherConcatenates) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    for (const auto n : kSizes) {
      std::vector<at::Tensor> parts;
      for (int rank = 0; rank < communicator.size(); ++rank) {
        parts.push_back(values(rank, n, at::kFloat));
      }
      at::Tensor output = filled(n * communicator.size(), -1, at::kFloat, device());
      communicator.all_gather(parts[communicator.rank()].to(device()), output).wait();
      EXPECT_TRUE(are_equal(output, at::cat(parts))) << n;
    }
  });
}

TEST_P(CommunicatorTest, AllGatherInputMayBePartOfOutput) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    const std::int64_t n = 1000;
    const at::Tensor output = filled(n * communicator.size(), -1, at::kFloat, device());
    const at::Tensor own = output.narrow(0, n * communicator.rank(), n);
    own.copy_(values(communicator.rank(), n, at::kDouble, device()));
    communicator.all_gather(own, output).wait();
    for (int rank = 0; rank < communicator.size(); ++rank) {
      const at::Tensor part = output.narrow(0, n * rank, n);
      EXPECT_TRUE(are_equal(part.to(at::kDouble), values(rank, n, at::kDouble))) << rank;
    }
  });
}

TEST_P(CommunicatorTest, BroadcastsFromEveryRoot) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    for (int root = 0; root < communicator.size(); ++root) {
      at::Tensor tensor = values(communicator.rank(), 1000, at::kByte, device());
      communicator.broadcast(tensor, root).wait();
      EXPECT_TRUE(are_equal(tensor, values(root, 1000, at::kByte))) << root;
    }
  });
}

TEST_P(CommunicatorTest, ExchangesAllToAll) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    // Rank a sends b * 40,000 + a elements to rank b, nothing where both are 0, itself included.
    const auto length = [](int from, int to) { return to * 4'000 + from; };
    std::vector<Transfer> transfers;
    std::vector<at::Tensor> received;
    for (int peer = 0; peer < communicator.size(); ++peer) {
      const int own = communicator.rank();
      received.push_back(filled(length(peer, own), -1, at::kFloat, device()));
      transfers.push_back(
          {Transfer::Direction::kSend, values(own, length(own, peer), at::kFloat, device()), peer});
      transfers.push_back({Transfer::Direction::kReceive, received.back(), peer});
    }
    communicator.exchange(transfers).wait();
    for (int peer = 0; peer < communicator.size(); ++peer) {
      EXPECT_TRUE(are_equal(received[peer], values(peer, received[peer].numel(), at::kFloat)));
    }
  });
}

TEST_P(CommunicatorTest, SendsBetweenTwoWhileOthersGoOn) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    const int last = communicator.size() - 1;
    if (last > 0 && communicator.rank() == 0) {
      communicator.send(values(0, 30'007, at::kFloat, device()), last).wait();
    }
    if (last > 0 && communicator.rank() == last) {
      at::Tensor received = filled(30'007, -1, at::kFloat, device());
      communicator.recv(received, 0).wait();
      EXPECT_TRUE(are_equal(received, values(0, 30'007, at::kFloat)));
    }
    at::Tensor count = filled(1, 1, at::kLong, device());
    communicator.all_reduce(count).wait();
    EXPECT_EQ(count.item<std::int64_t>(), communicator.size());
  });
}

TEST_P(CommunicatorTest, QueuedOperationsRunInOrder) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    const std::int64_t size = communicator.size();
    at::Tensor tensor = filled(5000, 1, at::kLong, device());
    at::Tensor gathered = filled(5000 * size, 0, at::kLong, device());
    communicator.all_reduce(tensor);
    communicator.broadcast(tensor, 0);
    communicator.all_reduce(tensor);
    communicator.all_gather(tensor, gathered).wait();
    EXPECT_TRUE(are_equal(gathered, filled(5000 * size, size * size, at::kLong, at::kCPU)));
  });
}

TEST_P(CommunicatorTest, TaskRunsBetweenOperations) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    const std::int64_t size = communicator.size();
    at::Tensor tensor = filled(5000, 1, at::kLong, device());
    communicator.all_reduce(tensor);
    communicator.then([tensor] { tensor[0] += 1; });
    communicator.all_reduce(tensor).wait();
    EXPECT_EQ(tensor[0].item<std::int64_t>(), size * (size + 1));
    EXPECT_EQ(tensor[1].item<std::int64_t>(), size * size);
  });
}

TEST_P(CommunicatorTest, FinishedWorkIsDone) {
  on_all_ranks(kLong, [](Communicator& communicator) {
    at::Tensor tensor = filled(10, 1, at::kFloat, device());
    Work work = communicator.all_reduce(tensor);
    work.wait();
    if (device().is_cuda()) torch::cuda::synchronize(device().index());
    EXPECT_TRUE(work.is_done());
    work.wait();
  });
}

// A wait on GPU tensors holds up the stream, not the host: nccl is not among these.
class CommunicatorTimeOutTest : public CommunicatorTest {};

// The last rank stays away; whoever waits for it says so in time.
void expect_last_rank_named(Communicator& communicator, const std::function<Work()>& call) {
  const int last = communicator.size() - 1;
  if (communicator.rank() == last) return;
  try {
    call().wait();
    ADD_FAILURE() << "did not time out";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kCommunication);
    EXPECT_NE(std::string(error.what()).find(fmt::format("rank {}", last)), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("#1"), std::string::npos) << error.what();
  }
}

TEST_P(CommunicatorTimeOutTest, OfCollectiveNamesMissingRank) {
  on_all_ranks(kShort, [](Communicator& communicator) {
    at::Tensor tensor = at::ones({10});
    expect_last_rank_named(communicator,
                           [&] { return communicator.broadcast(tensor, communicator.size() - 1); });
  });
  MPI_Barrier(MPI_COMM_WORLD);  // an absent rank must live until the others have given up
}

TEST_P(CommunicatorTimeOutTest, OfExchangeNamesMissingRank) {
  on_all_ranks(kShort, [](Communicator& communicator) {
    at::Tensor tensor = at::ones({10});
    expect_last_rank_named(communicator,
                           [&] { return communicator.recv(tensor, communicator.size() - 1); });
  });
  MPI_Barrier(MPI_COMM_WORLD);
}

std::vector<Backend> host_backends() {
  std::vector<Backend> backends = {Backend::kThread, Backend::kMpiDirect, Backend::kMpiNative};
  if (world_size() == 1) backends.push_back(Backend::kLocal);
  return backends;
}

std::vector<Backend> all_backends() {
  std::vector<Backend> backends = host_backends();
  if (has_nccl() && torch::cuda::is_available()) backends.push_back(Backend::kNccl);
  return backends;
}

std::string backend_name(const testing::TestParamInfo<Backend>& info) {
  switch (info.param) {
    case Backend::kLocal:
      return "Local";
    case Backend::kThread:
      return "Thread";
    case Backend::kMpiDirect:
      return "MpiDirect";
    case Backend::kMpiNative:
      return "MpiNative";
    case Backend::kNccl:
      return "Nccl";
  }
  return "Unknown";
}

INSTANTIATE_TEST_SUITE_P(Backends, CommunicatorTest, testing::ValuesIn(all_backends()),
                         backend_name);
INSTANTIATE_TEST_SUITE_P(Backends, CommunicatorTimeOutTest, testing::ValuesIn(host_backends()),
                         backend_name);

}  // namespace
}  // namespace kiln
