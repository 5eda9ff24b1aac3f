#include "launch/supervise/supervisor.h"

#include <fmt/chrono.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/checkpoint/checkpoint_reader.h"
#include "core/recipe/recipe_reader.h"
#include "core/report/log.h"
#include "dist/mpi/mpi_parameters.h"
#include "launch/run/own_program.h"
#include "launch/supervise/attempt.h"

namespace kiln {

namespace {

constexpr double kLongestBackoff_s = 60;
constexpr std::chrono::seconds kProbeLimit{10};
// Added to parallel.timeout_s, within which ranks end themselves and say why.
constexpr double kSilence_s = 15;

std::int64_t usable_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

bool is_on_path(const std::string& program) {
  const char* text = std::getenv("PATH");
  std::istringstream folders(text ? text : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

/// What a supervisor knows of the command: only `train` can resume.
struct Job {
  bool is_training = false;
  std::filesystem::path run_dir;
  double timeout_s = 600;
};

Job job_of(const std::vector<std::string>& command) {
  Job job;
  if (command.size() < 2 || command[0] != "train") return job;
  std::vector<std::string> overrides;
  std::string recipe;
  for (std::size_t i = 1; i < command.size(); ++i) {
    if (command[i] == "--dry-run" || command[i] == "--help") return job;
    if (command[i].starts_with("-")) continue;
    if (recipe.empty()) {
      recipe = command[i];
    } else {
      overrides.push_back(command[i]);
    }
  }
  try {
    RecipeReader reader = RecipeReader::from_file(recipe, overrides);
    const Recipe read = read_engine_sections(reader);
    job = {true, read.run.dir, read.parallel.timeout_s};
  } catch (const Error&) {
    // The ranks report what is wrong with the recipe.
  }
  return job;
}

std::int64_t newest_step(const Job& job) {
  if (!job.is_training) return -1;
  for (const auto& [step, path] : list_checkpoint_folders(job.run_dir)) {
    if (std::filesystem::exists(path / kManifestName)) return step;
  }
  return -1;
}

/// RUN/launch.
class Records {
 public:
  explicit Records(const Job& job) {
    if (!job.is_training) return;
    folder_ = job.run_dir / "launch";
    std::error_code failure;
    std::filesystem::create_directories(folder_, failure);
    if (failure) folder_.clear();  // the ranks will report it
  }
  /// For the next attempt.
  std::filesystem::path next_log() const {
    for (int number = 1; !folder_.empty(); ++number) {
      const auto path = folder_ / fmt::format("attempt-{:04}.log", number);
      if (!std::filesystem::exists(path)) return path;
    }
    return {};
  }
  void add(const std::string& line) const {
    if (folder_.empty()) return;
    std::ofstream(folder_ / "log.txt", std::ios::app)
        << fmt::format("{:%F %T} {}\n", fmt::localtime(std::time(nullptr)), line);
  }

 private:
  std::filesystem::path folder_;
};

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options)
      : options_(options),
        job_(job_of(options.command)),
        records_(job_),
        program_(own_program()),
        is_slurm_(options.hosts.empty() && std::getenv("SLURM_JOB_ID") && is_on_path("srun")),
        hosts_(options.hosts) {}

  ExitCode run() {
    for (std::int64_t number = 1;; ++number) {
      const std::int64_t step_before = newest_step(job_);
      const AttemptResult result = run_attempt(attempt_options(), signals_);
      const std::int64_t step = newest_step(job_);
      if (step > step_before) num_failures_ = 0;
      const bool goes_on = may_restart(result);
      tell(number, result, step, goes_on);
      if (!goes_on) return result.code;
      ++num_failures_;
      signals_.sleep(std::chrono::duration<double>(pause_s()));
      if (signals_.num_stops() > 0) return ExitCode::kStopped;
      choose_hosts();
    }
  }

 private:
  AttemptOptions attempt_options() const {
    AttemptOptions attempt;
    attempt.words = is_slurm_ ? srun_words(options_, program_)
                              : mpirun_words(options_, hosts_, program_, usable_cores());
    attempt.run_dir = job_.run_dir;
    attempt.log = records_.next_log();
    attempt.ready_limit_s = options_.ready_limit_s;
    attempt.silence_limit_s = job_.timeout_s + kSilence_s;
    attempt.grace_s = options_.grace_s;
    return attempt;
  }

  bool may_restart(const AttemptResult& result) const {
    const bool is_lost =
        result.code == ExitCode::kCommunication || result.code == ExitCode::kInternal;
    return job_.is_training && is_lost && signals_.num_stops() == 0 &&
           num_failures_ < options_.max_restarts;
  }

  double pause_s() const {
    const double doubled = options_.backoff_s * static_cast<double>(1LL << std::min<std::int64_t>(
                                                                        num_failures_ - 1, 30));
    return std::min(doubled, std::max(kLongestBackoff_s, options_.backoff_s));
  }

  void tell(std::int64_t number, const AttemptResult& result, std::int64_t step, bool goes_on) {
    std::string line = fmt::format("attempt {} ended after {:.0f} s", number, result.seconds);
    if (step >= 0) line += fmt::format(", newest checkpoint of step {}", step);
    line += fmt::format(": {}", result.reason);
    if (goes_on) {
      line += fmt::format(" (restart {} of at most {})", num_failures_ + 1, options_.max_restarts);
    } else if (result.code == ExitCode::kCommunication && job_.is_training) {
      line +=
          fmt::format(" (no restart left of {} without a newer checkpoint)", options_.max_restarts);
    }
    records_.add(line);
    if (result.code == ExitCode::kDone) return;
    if (goes_on) {
      log_warning("{}", line);
    } else if (result.code != ExitCode::kUsage) {
      log_info("{}", line);
    }
  }

  void choose_hosts() {
    if (options_.hosts.empty()) return;
    std::vector<Host> found = answering(options_.hosts, kProbeLimit);
    if (found.empty()) found = options_.hosts;  // the next attempt reports what is wrong with them
    for (const Host& host : options_.hosts) {
      const bool is_there = std::ranges::find(found, host) != found.end();
      const bool was_there = std::ranges::find(hosts_, host) != hosts_.end();
      if (is_there == was_there) continue;
      const std::string line =
          fmt::format(is_there ? fmt::runtime("host {} answers again")
                               : fmt::runtime("host {} no longer answers: going on without it"),
                      host.name);
      log_warning("{}", line);
      records_.add(line);
    }
    hosts_ = std::move(found);
  }

  const SupervisorOptions& options_;
  const Job job_;
  const Records records_;
  const std::string program_;
  const bool is_slurm_;
  std::vector<Host> hosts_;
  SupervisorSignals signals_;
  std::int64_t num_failures_ = 0;  // in a row, without a newer checkpoint
};

void set_environment(const SupervisorOptions& options) {
  setenv("KILN_GRACE_S", fmt::format("{}", options.grace_s).c_str(), 1);
  if (isatty(STDERR_FILENO)) setenv("KILN_STDERR_IS_TERMINAL", "1", 1);
  set_launcher_parameters();
}

}  // namespace

std::vector<std::string> mpirun_words(const SupervisorOptions& options,
                                      const std::vector<Host>& hosts, const std::string& program,
                                      std::int64_t num_cores) {
  const std::int64_t num_ranks =
      hosts.empty() ? options.num_ranks : std::min(options.num_ranks, num_slots(hosts));
  std::vector<std::string> words = {"mpirun", "-np", std::to_string(num_ranks)};
  if (hosts.empty() && num_ranks > num_cores) words.push_back("--oversubscribe");
  // Open MPI binds one or two ranks to a core each; Kiln gives a rank its share of the node's
  // cores.
  words.insert(words.end(), {"--bind-to", "none"});
  if (!hosts.empty()) words.insert(words.end(), {"--host", to_text(hosts)});
  for (char** variable = environ; *variable; ++variable) {
    const std::string text = *variable;
    if (text.starts_with("KILN_"))
      words.insert(words.end(), {"-x", text.substr(0, text.find('='))});
  }
  words.push_back(program);
  words.insert(words.end(), options.command.begin(), options.command.end());
  return words;
}

std::vector<std::string> srun_words(const SupervisorOptions& options, const std::string& program) {
  std::vector<std::string> words = {"srun", "--kill-on-bad-exit=1", "--ntasks",
                                    std::to_string(options.num_ranks)};
  if (!std::getenv("SLURM_MPI_TYPE")) words.push_back("--mpi=pmix");
  // A step does not inherit it from the allocation any more (Slurm 22.05).
  if (const char* cores = std::getenv("SLURM_CPUS_PER_TASK"))
    words.push_back(fmt::format("--cpus-per-task={}", cores));
  words.push_back(program);
  words.insert(words.end(), options.command.begin(), options.command.end());
  return words;
}

ExitCode supervise(const SupervisorOptions& options) {
  set_environment(options);
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // ranks that outlive mpirun are found below this process
  return Supervisor(options).run();
}

}  // namespace kiln
