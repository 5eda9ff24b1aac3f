#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "dist/operation.h"

namespace kiln {

/// The flight recorder: each rank keeps its last operations and its activity in a small
/// memory-mapped file, RUN/ranks/NNNN.flight, which others can read when the rank is dead or stuck.
/// Writing needs no system call. Until open_flight_record() the record lies in memory only.
///
/// One recorder per process. Thread safe.
void open_flight_record(const std::filesystem::path& run_folder, int rank);

enum class FlightLane {
  kHost,
  kDevice
};  // which communicator: their operations are numbered apart
void record_called(FlightLane lane, const Operation& operation);
void record_done(FlightLane lane, const Operation& operation);

/// What a rank's file says, and what its process looks like where it runs on this host.
struct FlightRecord {
  struct Lane {
    std::int64_t called = 0;  // collectives
    std::int64_t done = 0;
    std::string last = {};  // operation called: "all_reduce #41 (4096 bytes)"
    double seconds = 0;     // since then
  };
  int rank = 0;
  std::string host = {};
  std::int64_t pid = 0;
  std::string activity = {};
  double activity_seconds = 0;
  Lane lanes[2] = {};
  /// The last operations, oldest first: "12:03:44.123 host all_reduce #41 (4096 bytes), 3.2 ms".
  std::vector<std::string> history = {};
  /// "stopped", "dead", "waiting for a disk" or "running"; empty on another host.
  std::string process_state = {};
};

/// Returns nothing where there is no such file or where it is no flight record.
std::optional<FlightRecord> read_flight_record(const std::filesystem::path& run_folder, int rank);

/// One sentence about a rank that others wait for, from its file in the folder that this process
/// records to; empty where there is none.
std::string explain_from_record(int rank);

/// One sentence about each of `size` ranks that has called fewer operations of `lane` than another
/// rank.
std::vector<std::string> explain_ranks_behind(FlightLane lane, int size);

}  // namespace kiln
