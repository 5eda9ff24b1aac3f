#include "core/checkpoint/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>

#include "core/base/error.h"
#include "core/checkpoint/checkpoint.h"
#include "core/checkpoint/checkpoint_reader.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

/// Host and boot. Containers on one kernel count as one host, because flock works between them.
std::string this_host() {
  char name[256] = "?";
  ::gethostname(name, sizeof name - 1);
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return fmt::format("{}/{}", name, boot);
}

/// The one line of RUN/lock.
using Holder = RunHolder;

bool is_same_process(const Holder& one, const Holder& other) {
  return one.host == other.host && one.pid == other.pid && one.attempt == other.attempt;
}

std::optional<Holder> parse_holder(const std::string& text) {
  Holder holder;
  std::istringstream line(text);
  if (line >> holder.host >> holder.pid >> holder.attempt >> holder.beat) return holder;
  return {};
}

/// The descriptor of RUN/lock. It is written in place, so that a full disk cannot stop the beat.
class LockFile {
 public:
  explicit LockFile(const fs::path& path)
      : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (descriptor_ < 0)
      throw checkpoint_error("cannot write in the run folder {}: {}. Choose another run.dir.",
                             path.parent_path().string(), std::strerror(errno));
  }
  ~LockFile() { ::close(descriptor_); }
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

  enum class Result { kTaken, kHeldByOther, kUnsupported };
  Result try_lock() {
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0) return Result::kTaken;
    return errno == EWOULDBLOCK ? Result::kHeldByOther : Result::kUnsupported;
  }

  std::optional<Holder> holder() const {
    char text[kLineBytes + 1] = {};
    if (::pread(descriptor_, text, kLineBytes, 0) <= 0) return {};
    return parse_holder(text);
  }

  bool write(const Holder& holder) {
    std::string line =
        fmt::format("{} {} {} {}", holder.host, holder.pid, holder.attempt, holder.beat);
    line.resize(kLineBytes - 1, ' ');
    line += '\n';
    return ::pwrite(descriptor_, line.data(), line.size(), 0) == static_cast<ssize_t>(line.size());
  }
  void clear() {
    if (::ftruncate(descriptor_, 0) != 0) return;  // then the next start waits for a beat
  }

 private:
  static constexpr std::size_t kLineBytes = 512;
  int descriptor_;
};

Error in_use(const fs::path& run_dir, const std::optional<Holder>& holder) {
  const std::string who =
      holder ? fmt::format("process {} on {} (attempt {})", holder->pid,
                           holder->host.substr(0, holder->host.find('/')), holder->attempt)
             : "another process";
  return checkpoint_error(
      "the run folder {} is in use by {}. Wait for it to end, stop it, or choose another run.dir.",
      run_dir.string(), who);
}

/// Whether the holder's beat moves within `patience`.
bool is_beating(const LockFile& lock, const Holder& seen, const RunFolder::Options& options) {
  const auto deadline = std::chrono::steady_clock::now() + options.patience;
  while (std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(options.heartbeat / 4);
    const auto now = lock.holder();
    if (!now) return false;  // it ended normally
    if (*now != seen) return true;
  }
  return false;
}

void raise_attempt(FileSystem& files, const fs::path& run_dir, std::int64_t attempt) {
  try {
    write_file_atomically(files, run_dir / "attempt", fmt::format("{}\n", attempt));
  } catch (const Error& error) {
    throw checkpoint_error("cannot write in the run folder {}: {}. Choose another run.dir.",
                           run_dir.string(), error.what());
  }
}

/// Removes what interrupted saves and removals left. Nothing reads it, except a replaced checkpoint
/// whose successor is missing or unreadable.
void remove_leftovers(FileSystem& files, const fs::path& run_dir) {
  std::vector<fs::path> leftovers;
  for (const auto& found : fs::directory_iterator(checkpoints_folder(run_dir))) {
    const fs::path& path = found.path();
    if (path.filename().string().rfind("step-", 0) != 0) continue;
    const std::string extension = path.extension().string();
    const fs::path successor = path.parent_path() / path.stem();
    if (extension == ".partial" || extension == ".removed" ||
        (extension == ".replaced" && is_readable(successor)))
      leftovers.push_back(path);
  }
  for (const fs::path& path : leftovers) files.remove_all(path);
}

}  // namespace

struct RunFolder::Impl {
  fs::path path;
  Holder self;
  std::unique_ptr<LockFile> lock;
  std::mutex mutex;
  std::condition_variable_any ended;
  std::jthread heart;  // last: joined first

  void beat(std::stop_token stop, milliseconds interval) {
    std::unique_lock guard(mutex);
    while (!ended.wait_for(guard, stop, interval, [&] { return stop.stop_requested(); })) {
      const auto holder = lock->holder();
      // Another process may have taken the lock while this one was stopped.
      if (!holder || !is_same_process(*holder, self)) return;
      ++self.beat;
      lock->write(self);
    }
  }

  ~Impl() {
    heart = {};
    const auto holder = lock ? lock->holder() : std::nullopt;
    if (holder && is_same_process(*holder, self)) lock->clear();
  }
};

RunFolder::RunFolder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RunFolder::~RunFolder() = default;
RunFolder::RunFolder(RunFolder&&) noexcept = default;
RunFolder& RunFolder::operator=(RunFolder&&) noexcept = default;
const fs::path& RunFolder::path() const { return impl_->path; }
std::int64_t RunFolder::attempt() const { return impl_->self.attempt; }

RunFolder RunFolder::open(const fs::path& run_dir) { return open(run_dir, Options{}); }

RunFolder RunFolder::open(const fs::path& run_dir, Options options, FileSystem& files) {
  files.create_directories(run_dir);
  auto lock = std::make_unique<LockFile>(run_dir / "lock");
  const auto result = lock->try_lock();
  const auto before = lock->holder();
  if (result == LockFile::Result::kHeldByOther) throw in_use(run_dir, before);

  Holder self{options.host.empty() ? this_host() : options.host, ::getpid(), 0, 0};
  // On one host the lock alone decides; it was free, so a holder of this host is dead.
  const bool is_certain =
      result == LockFile::Result::kTaken && (!before || before->host == self.host);
  if (!is_certain && before && is_beating(*lock, *before, options)) throw in_use(run_dir, before);
  self.attempt = read_attempt(run_dir) + 1;
  lock->write(self);
  if (!is_certain) {  // flock has no effect: two processes may start, and the later line stays
    std::this_thread::sleep_for(options.heartbeat / 2);
    const auto now = lock->holder();
    if (!now || !is_same_process(*now, self)) throw in_use(run_dir, now);
  }

  raise_attempt(files, run_dir, self.attempt);
  files.create_directories(checkpoints_folder(run_dir));
  remove_leftovers(files, run_dir);

  auto impl = std::make_unique<Impl>();
  impl->path = run_dir;
  impl->self = self;
  impl->lock = std::move(lock);
  impl->heart = std::jthread([raw = impl.get(), interval = options.heartbeat](
                                 std::stop_token stop) { raw->beat(stop, interval); });
  return RunFolder(std::move(impl));
}

std::optional<RunHolder> read_holder(const fs::path& run_dir) {
  std::ifstream file(run_dir / "lock");
  std::string line;
  return std::getline(file, line) ? parse_holder(line) : std::nullopt;
}

std::int64_t read_attempt(const fs::path& run_dir) {
  std::error_code ignored;
  if (!fs::exists(run_dir / "attempt", ignored)) return 0;
  std::int64_t attempt = 0;
  std::istringstream text(read_text_file(run_dir / "attempt"));
  if (!(text >> attempt) || attempt < 0)
    throw checkpoint_error("{} does not hold a number: remove it", (run_dir / "attempt").string());
  return attempt;
}

std::vector<std::string> check_identity(const std::map<std::string, std::string>& stored,
                                        const std::map<std::string, std::string>& current,
                                        const std::vector<std::string>& allow_change,
                                        const std::string& origin) {
  const auto value_of = [](const auto& values, const std::string& key) -> std::string {
    const auto found = values.find(key);
    return found == values.end() ? "(not set)" : found->second;
  };
  const auto is_allowed = [&](const std::string& key) {
    return std::any_of(allow_change.begin(), allow_change.end(), [&](const std::string& allowed) {
      return key == allowed || key.substr(0, key.find('.')) == allowed;
    });
  };
  std::map<std::string, std::string> keys = stored;
  keys.insert(current.begin(), current.end());
  std::vector<std::string> allowed;
  std::string refused, names;
  for (const auto& [key, unused] : keys) {
    if (value_of(stored, key) == value_of(current, key)) continue;
    if (is_allowed(key)) {
      allowed.push_back(key);
      continue;
    }
    refused +=
        fmt::format("\n  {} was {}, is now {}", key, value_of(stored, key), value_of(current, key));
    names += fmt::format("{}\"{}\"", names.empty() ? "" : ", ", key);
  }
  if (!refused.empty())
    throw usage_error(
        "{} was written by another recipe:{}\nChoose another run.dir, restore the recipe, or, to "
        "go "
        "on with the change, add run.allow_change=[{}].",
        origin, refused, names);
  return allowed;
}

}  // namespace kiln
