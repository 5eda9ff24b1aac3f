// Faults planted on the machine, and the finding of kiln doctor about each. How each is planted
// stands in its test. Calls into the system are made to fail by a library that is loaded first
// (tests/support/failing_calls.c).

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "tests/launch/fixtures/run_fixture.h"

namespace kiln::test {
namespace {

using Words = std::vector<std::string>;

Words operator+(Words left, const Words& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Words doctor(const Words& more = {}) { return kiln(Words{"doctor", "--json"} + more); }

class Doctor : public testing::Test {
 protected:
  Doctor() : folder_(fresh_folder("doctor")), recipe_(tiny_mae_recipe(folder_).string()) {}
  Words on_recipe(const Words& more = {}) const {
    return doctor(Words{recipe_, "run.dir=" + (folder_ / "run").string()} + more);
  }

  static std::vector<std::string> names(const Outcome& outcome) {
    std::vector<std::string> found;
    const auto json = outcome.json();
    if (!json.is_object()) return found;
    for (const auto& finding : json["findings"]) {
      EXPECT_FALSE(finding["remedy"].get<std::string>().empty());
      found.push_back(finding["name"]);
    }
    return found;
  }
  static void expect_finding(const Words& words, const std::string& name) {
    const Outcome outcome = run(words, std::chrono::seconds(60));
    EXPECT_NE(outcome.exit_code, 0);
    EXPECT_LT(outcome.seconds, 10.0 * kPatience);
    const auto found = names(outcome);
    EXPECT_NE(std::ranges::find(found, name), found.end())
        << testing::PrintToString(found) << outcome.err;
  }
  // 10 s are promised for a machine that does nothing else; one that runs tests may.
  static constexpr double kPatience = 3;

  const std::filesystem::path folder_;
  const std::string recipe_;
};

// `words` on one rank of two, `others` on the other.
Words two_kinds(const Words& words, const Words& others) {
  return mpirun(1, words) + Words{":", "-np", "1"} + others;
}

Words with_environment(const std::string& setting, const Words& words) {
  return Words{"env", setting} + words;
}

Words with_failing_calls(const std::string& setting, const Words& words) {
  return Words{"env", "LD_PRELOAD=" KILN_FAILING_CALLS, setting} + words;
}

TEST_F(Doctor, FindsNothingOnAHealthyMachine) {
  for (const Words& words : {on_recipe(), mpirun(2, on_recipe())}) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
    EXPECT_TRUE(names(outcome).empty()) << outcome.out;
    EXPECT_LT(outcome.seconds, 10.0 * kPatience);
  }
}

// As srun without a PMI leaves them: the tasks are numbered, and know no MPI.
TEST_F(Doctor, FindsTasksThatCannotMeet) {
  expect_finding(Words{"env", "SLURM_PROCID=0", "SLURM_STEP_NUM_TASKS=4"} + doctor(), "launcher");
}

// As an mpirun of another MPI leaves them: numbered, but alone to MPI.
TEST_F(Doctor, FindsALauncherOfAnotherMpi) {
  expect_finding(Words{"env", "OMPI_COMM_WORLD_RANK=0", "OMPI_COMM_WORLD_SIZE=2"} + doctor(),
                 "MPI");
}

// MPICH's and Intel's number them otherwise.
TEST_F(Doctor, FindsALauncherOfTheOtherAbi) {
  expect_finding(Words{"env", "PMI_RANK=0", "PMI_SIZE=2"} + doctor(), "MPI");
}

// A copy of the program with a byte more on one rank.
TEST_F(Doctor, FindsAnotherProgram) {
  const auto copy = folder_ / "kiln";
  std::filesystem::copy_file(doctor()[0], copy);
  std::ofstream(copy, std::ios::app) << ' ';
  expect_finding(two_kinds(doctor(), Words{copy.string(), "doctor"}), "program");
}

// Another seed on one rank.
TEST_F(Doctor, FindsAnotherRecipe) {
  expect_finding(two_kinds(on_recipe(), on_recipe({"run.seed=6"})), "recipe");
}

// A dataset that one rank has without its last shard.
TEST_F(Doctor, FindsADamagedDataset) {
  const auto copy = folder_ / "dataset";
  std::filesystem::copy(tiny_images(), copy, std::filesystem::copy_options::recursive);
  for (const auto& entry : std::filesystem::directory_iterator(copy)) {
    if (entry.path().filename().string().starts_with("shard-00000")) {
      std::filesystem::remove(entry.path());
    }
  }
  expect_finding(two_kinds(on_recipe(), on_recipe({"data.path=" + copy.string()})), "dataset");
}

// GPUs asked for where none is visible.
TEST_F(Doctor, FindsMissingGpus) {
  expect_finding(with_environment("CUDA_VISIBLE_DEVICES=", on_recipe({"run.device=cuda"})), "GPU");
}

// One processor of several.
TEST_F(Doctor, FindsRanksBoundToTooFewProcessors) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "there is one processor";
  expect_finding(Words{"taskset", "-c", "0"} + doctor(), "processors");
}

// An interface that no host has.
TEST_F(Doctor, FindsAnInterfaceThatIsNotThere) {
  expect_finding(with_environment("NCCL_SOCKET_IFNAME=nosuch0", doctor()), "network interface");
}

// ulimit -n 200.
TEST_F(Doctor, FindsAnOpenFileLimit) {
  expect_finding(Words{"sh", "-c", "ulimit -n 200; exec \"$@\"", "sh"} + doctor(), "open files");
}

// ulimit -f 64.
TEST_F(Doctor, FindsAFileSizeLimit) {
  expect_finding(Words{"sh", "-c", "ulimit -f 64; exec \"$@\"", "sh"} + on_recipe(), "file size");
}

// statvfs tells of a full /dev/shm.
TEST_F(Doctor, FindsFullSharedMemory) {
  expect_finding(with_failing_calls("FAIL_FULL=/dev/shm", doctor()), "shared memory");
}

// statvfs tells of a full disk.
TEST_F(Doctor, FindsAFullDisk) {
  expect_finding(with_failing_calls("FAIL_FULL=" + folder_.string(), on_recipe()), "disk space");
}

// flock fails as on a mount without locks.
TEST_F(Doctor, FindsAFileSystemWithoutLocks) {
  expect_finding(with_failing_calls("FAIL_FLOCK=1", on_recipe()), "file locks");
}

// One rank's clock is an hour ahead.
TEST_F(Doctor, FindsAClockThatIsOff) {
  const Words words = mpirun(2, doctor()) + Words{":", "-np", "1"} +
                      with_failing_calls("FAIL_CLOCK_S=3600", doctor());
  expect_finding(words, "clock");
}

// Every message of one rank of four leaves 20 ms late; all go over TCP.
TEST_F(Doctor, FindsASlowRank) {
  const Words words = mpirun(3, doctor()) + Words{":", "-np", "1"} +
                      with_failing_calls("SLOW_SEND_MS=20", doctor());
  expect_finding(with_environment("OMPI_MCA_btl=tcp,self", words), "bandwidth");
}

}  // namespace
}  // namespace kiln::test
