#include "dist/flight_recorder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <mutex>

#include "core/base/error.h"
#include "core/report/activity.h"

namespace kiln {
namespace {

constexpr char kMagic[8] = {'K', 'I', 'L', 'N', 'F', 'L', 'T', '1'};
constexpr int kNumLanes = 2;
constexpr int kNumEvents = 64;
const char* const kLaneNames[kNumLanes] = {"host", "device"};

// The file, byte for byte. Times are milliseconds since 1970.
struct EventImage {
  std::int64_t called_ms = 0;
  std::int64_t done_ms = 0;  // 0: under way
  std::int32_t lane = 0;
  char text[60] = {};
};
struct LaneImage {
  std::int64_t called = 0;
  std::int64_t done = 0;
  std::int64_t last_ms = 0;
  char last[64] = {};
};
struct FileImage {
  char magic[8] = {};
  std::int32_t rank = 0;
  std::int32_t pid = 0;
  char host[64] = {};
  ActivitySlot activity;
  LaneImage lanes[kNumLanes];
  std::int64_t num_events = 0;  // ever; event i is at i % kNumEvents
  EventImage events[kNumEvents];
};

struct Recorder {
  std::mutex mutex;
  FileImage* image = new FileImage;  // never freed: other threads record until the process ends
  std::filesystem::path folder;
};

Recorder& recorder() {
  static Recorder* const instance = new Recorder;
  return *instance;
}

std::int64_t now_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

double seconds_since(std::int64_t then_ms) {
  return static_cast<double>(std::max<std::int64_t>(0, now_ms() - then_ms)) * 1e-3;
}

template <std::size_t kSize>
void copy_text(const std::string& text, char (&to)[kSize]) {
  const std::size_t length = std::min(text.size(), kSize - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

template <std::size_t kSize>
std::string text_of(const char (&from)[kSize]) {
  return {from, strnlen(from, kSize)};
}

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  return name;
}

std::filesystem::path record_path(const std::filesystem::path& run_folder, int rank) {
  return run_folder / "ranks" / fmt::format("{:04}.flight", rank);
}

FileImage* map_file(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  const bool is_sized = descriptor >= 0 && ::ftruncate(descriptor, sizeof(FileImage)) == 0;
  void* memory = is_sized ? ::mmap(nullptr, sizeof(FileImage), PROT_READ | PROT_WRITE, MAP_SHARED,
                                   descriptor, 0)
                          : MAP_FAILED;
  const int reason = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (memory == MAP_FAILED) {
    throw checkpoint_error("cannot write the flight record {}: {}", path.string(),
                           std::strerror(reason));
  }
  return static_cast<FileImage*>(memory);
}

// From /proc, for a process of this host.
std::string state_of_process(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return "dead";
  const std::size_t name_end = line.rfind(')');
  const char state = name_end + 2 < line.size() ? line[name_end + 2] : '?';
  if (state == 'T' || state == 't') return "stopped";
  if (state == 'Z' || state == 'X') return "dead";
  return state == 'D' ? "waiting for a disk" : "running";
}

std::string describe_event(const EventImage& event) {
  const auto called =
      std::chrono::system_clock::time_point(std::chrono::milliseconds(event.called_ms));
  const std::string took =
      event.done_ms == 0 ? "under way" : fmt::format("{} ms", event.done_ms - event.called_ms);
  return fmt::format(
      "{:%H:%M:%S}.{:03} {} {}, {}", std::chrono::time_point_cast<std::chrono::seconds>(called),
      event.called_ms % 1000, kLaneNames[event.lane % kNumLanes], text_of(event.text), took);
}

std::string explain(const FlightRecord& record) {
  std::string text =
      fmt::format("rank {} (process {} on {})", record.rank, record.pid, record.host);
  text += record.process_state.empty() || record.process_state == "running"
              ? " was last seen"
              : fmt::format(" is {}, last seen", record.process_state);
  if (!record.activity.empty()) {
    text += fmt::format(" in '{}' for {:.0f} s,", record.activity, record.activity_seconds);
  }
  const auto& lane = record.lanes[record.lanes[1].called > 0 ? 1 : 0];
  return text +
         fmt::format(" after {} collectives, the last {:.0f} s ago", lane.called, lane.seconds);
}

}  // namespace

void open_flight_record(const std::filesystem::path& run_folder, int rank) {
  std::filesystem::create_directories(run_folder / "ranks");
  FileImage* file = map_file(record_path(run_folder, rank));
  Recorder& r = recorder();
  const std::lock_guard lock(r.mutex);
  *file = *r.image;
  file->rank = rank;
  file->pid = ::getpid();
  copy_text(host_name(), file->host);
  std::memcpy(file->magic, kMagic, sizeof(kMagic));
  r.image = file;
  r.folder = run_folder;
  keep_activity_in(&file->activity);
}

void record_called(FlightLane lane, const Operation& operation) {
  Recorder& r = recorder();
  const std::lock_guard lock(r.mutex);
  const int index = static_cast<int>(lane);
  LaneImage& image = r.image->lanes[index];
  const std::string text = operation.describe();
  if (operation.is_collective()) image.called = operation.sequence;
  image.last_ms = now_ms();
  copy_text(text, image.last);
  EventImage& event = r.image->events[r.image->num_events++ % kNumEvents];
  event = {.called_ms = image.last_ms, .done_ms = 0, .lane = index};
  copy_text(text, event.text);
}

void record_done(FlightLane lane, const Operation& operation) {
  Recorder& r = recorder();
  const std::lock_guard lock(r.mutex);
  if (operation.is_collective()) {
    r.image->lanes[static_cast<int>(lane)].done = operation.sequence;
  }
  char text[sizeof(EventImage::text)];
  copy_text(operation.describe(), text);
  const std::int64_t num_events = r.image->num_events;
  for (std::int64_t i = num_events - 1; i >= std::max<std::int64_t>(0, num_events - kNumEvents);
       --i) {
    EventImage& event = r.image->events[i % kNumEvents];
    if (event.lane == static_cast<int>(lane) && std::strcmp(event.text, text) == 0) {
      event.done_ms = now_ms();
      return;
    }
  }
}

std::optional<FlightRecord> read_flight_record(const std::filesystem::path& run_folder, int rank) {
  FileImage image;
  std::ifstream file(record_path(run_folder, rank), std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(&image), sizeof(image))) return std::nullopt;
  if (std::memcmp(image.magic, kMagic, sizeof(kMagic)) != 0) return std::nullopt;
  FlightRecord record{.rank = image.rank, .host = text_of(image.host), .pid = image.pid};
  record.activity = text_of(image.activity.text);
  record.activity_seconds = seconds_since(image.activity.since_unix_ms);
  for (int i = 0; i < kNumLanes; ++i) {
    const LaneImage& lane = image.lanes[i];
    record.lanes[i] = {lane.called, lane.done, text_of(lane.last), seconds_since(lane.last_ms)};
  }
  for (std::int64_t i = std::max<std::int64_t>(0, image.num_events - kNumEvents);
       i < image.num_events; ++i) {
    record.history.push_back(describe_event(image.events[i % kNumEvents]));
  }
  if (record.host == host_name()) record.process_state = state_of_process(record.pid);
  return record;
}

std::string explain_from_record(int rank) {
  std::filesystem::path folder;
  {
    Recorder& r = recorder();
    const std::lock_guard lock(r.mutex);
    folder = r.folder;
  }
  if (folder.empty()) return "";
  const auto record = read_flight_record(folder, rank);
  return record ? explain(*record) : "";
}

std::vector<std::string> explain_ranks_behind(FlightLane lane, int size) {
  std::filesystem::path folder;
  {
    Recorder& r = recorder();
    const std::lock_guard lock(r.mutex);
    folder = r.folder;
  }
  std::vector<std::optional<FlightRecord>> records;
  std::int64_t most = 0;
  for (int rank = 0; rank < size && !folder.empty(); ++rank) {
    records.push_back(read_flight_record(folder, rank));
    if (records.back()) most = std::max(most, records.back()->lanes[static_cast<int>(lane)].called);
  }
  std::vector<std::string> sentences;
  for (const auto& record : records) {
    if (!record) continue;
    const std::int64_t behind = most - record->lanes[static_cast<int>(lane)].called;
    const bool is_gone = record->process_state == "dead" || record->process_state == "stopped";
    if (behind > 0 || is_gone) {
      sentences.push_back(fmt::format("{}, {} behind the others", explain(*record), behind));
    }
  }
  return sentences;
}

}  // namespace kiln
