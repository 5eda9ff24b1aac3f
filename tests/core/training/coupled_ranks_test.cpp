// A coupled phase on ranks that are processes: mpirun -np 1 to 4, against one rank alone.

#include <gtest/gtest.h>

#include "core/torch.h"
#include "dist/mpi/mpi_communicator.h"
#include "tests/support/coupled_toy.h"
#include "tests/support/toy_training.h"

namespace kiln {
namespace {

using toy::Outcome;
using toy::TrainingSetup;

TEST(CoupledRanks, GiveTheBitsOfOneRank) {
  at::set_num_threads(1);
  const auto ranks = make_mpi_communicator({.timeout = std::chrono::seconds(60)});
  for (const auto precision : {at::kFloat, at::kBFloat16}) {
    TrainingSetup setup;
    setup.micro_batches = 5;
    setup.is_reproducible = true;
    setup.make_objective = [precision] {
      return std::make_unique<toy::CoupledObjective>(
          toy::CoupledOptions{.precision = precision, .has_critic = true, .is_initialised = true});
    };
    const Outcome alone = train(setup);
    for (const bool is_sharded : {false, true}) {
      setup.is_sharded = is_sharded;
      const Outcome here = train_rank(setup, *ranks);
      EXPECT_EQ(here.weights_hash, alone.weights_hash) << "sharded " << is_sharded;
      EXPECT_EQ(here.losses, alone.losses);
      for (const auto& [name, tensor] : alone.buffers) {
        EXPECT_TRUE(at::equal(here.buffers.at(name), tensor)) << name;
      }
    }
  }
}

}  // namespace
}  // namespace kiln
