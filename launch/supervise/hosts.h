#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kiln {

/// A machine that ranks run on.
struct Host {
  std::string name;
  std::int64_t slots = 1;  // ranks
  friend bool operator==(const Host&, const Host&) = default;
};

/// "a:8,b:8"; without a number a host has one slot, and named twice it has both. Throws
/// Error(kUsage).
std::vector<Host> parse_hosts(const std::string& text);
/// mpirun's format: a line "a slots=8" each, # begins a comment.
std::vector<Host> read_hostfile(const std::filesystem::path& path);
/// "a:8,b:8"
std::string to_text(const std::vector<Host>& hosts);
std::int64_t num_slots(const std::vector<Host>& hosts);

/// The hosts that run a command through mpirun's remote shell (OMPI_MCA_plm_rsh_agent, else ssh)
/// within `limit`; all are asked at once, this machine not at all.
std::vector<Host> answering(const std::vector<Host>& hosts, std::chrono::seconds limit);

}  // namespace kiln
