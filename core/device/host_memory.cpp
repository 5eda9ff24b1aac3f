#include "core/device/host_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <malloc.h>
#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

namespace kiln {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLarge = std::size_t{1} << 20;
// Before the data of every block; also the alignment of the data.
constexpr std::size_t kHeader = 64;

std::size_t round_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// Large blocks, free ones kept by size. Thread-safe.
class Reserve {
 public:
  void* take(std::size_t capacity) {
    const std::lock_guard lock(mutex_);
    used_ += capacity;
    peak_ = std::max(peak_, used_);
    const auto found = free_.lower_bound(capacity);
    if (found == free_.end() || found->first > 2 * capacity) return map(capacity);
    void* block = found->second;
    reserved_ -= found->first;
    used_ += found->first - capacity;
    free_.erase(found);
    return block;
  }
  void give_back(void* block, std::size_t capacity) {
    const std::lock_guard lock(mutex_);
    used_ -= capacity;
    reserved_ += capacity;
    free_.emplace(capacity, block);
    while (used_ + reserved_ > 2 * peak_) {
      const auto largest = std::prev(free_.end());
      unmap(largest->second, largest->first);
      reserved_ -= largest->first;
      free_.erase(largest);
    }
  }
  HostMemory statistics() {
    const std::lock_guard lock(mutex_);
    return {static_cast<std::int64_t>(used_), static_cast<std::int64_t>(reserved_)};
  }

 private:
  // A block at a multiple of the huge page's size; its first word says how long it is.
  static void* map(std::size_t capacity) {
    const std::size_t length = capacity + kHugePage;
    void* memory =
        mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t begin = round_up(address, kHugePage);
    if (begin > address) munmap(memory, begin - address);
    const std::uintptr_t rest = address + length - (begin + capacity);
    if (rest > 0) munmap(reinterpret_cast<void*>(begin + capacity), rest);
    auto* block = reinterpret_cast<std::size_t*>(begin);
    madvise(block, capacity, MADV_HUGEPAGE);
    *block = capacity;
    return block;
  }
  static void unmap(void* block, std::size_t capacity) { munmap(block, capacity); }

  std::mutex mutex_;
  std::multimap<std::size_t, void*> free_;
  std::size_t used_ = 0, reserved_ = 0, peak_ = 0;
};

Reserve& reserve() {
  static auto* instance = new Reserve;  // static objects may be destroyed before the last tensor
  return *instance;
}

void release(void* data) {
  if (data == nullptr) return;
  void* block = static_cast<char*>(data) - kHeader;
  const std::size_t capacity = *static_cast<std::size_t*>(block);
  if (capacity == 0) {
    std::free(block);
  } else {
    reserve().give_back(block, capacity);
  }
}

class HostAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t num_bytes) override {
    if (num_bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::kCPU)};
    void* block = nullptr;
    if (num_bytes >= kLarge) {
      block = reserve().take(round_up(num_bytes + kHeader, kHugePage));
    } else {
      block = std::aligned_alloc(kHeader, round_up(num_bytes + kHeader, kHeader));
      if (block == nullptr) throw std::bad_alloc();
      *static_cast<std::size_t*>(block) = 0;
    }
    void* data = static_cast<char*>(block) + kHeader;
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t count) const override {
    default_copy_data(to, from, count);
  }
};

}  // namespace

void keep_host_memory() {
  static HostAllocator allocator;
  constexpr std::uint8_t kPriority = 1;  // above LibTorch's own
  c10::SetCPUAllocator(&allocator, kPriority);
  // The same for memory that LibTorch does not allocate, such as oneDNN's scratchpads.
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
}

HostMemory host_memory() { return reserve().statistics(); }

}  // namespace kiln
