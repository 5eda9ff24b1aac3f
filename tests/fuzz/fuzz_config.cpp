#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "models/interchange/huggingface.h"
#include "tests/fuzz/fuzz.h"

// config.json of a hub folder whose weights hold no tensor: what it says is followed up to the names
// that are missing.

namespace {

/// Numbers of more than three digits make models that take seconds to build; what a size may be is
/// not what is looked for here.
bool has_large_numbers(const std::uint8_t* data, std::size_t size) {
  int digits = 0;
  for (std::size_t i = 0; i < size; ++i) {
    digits = std::isdigit(data[i]) != 0 ? digits + 1 : 0;
    if (digits > 3) return true;
  }
  return false;
}

std::filesystem::path folder() {
  static const std::filesystem::path made = [] {
    std::string name = (std::filesystem::temp_directory_path() / "kiln-fuzz-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    std::ofstream(name + "/model.safetensors", std::ios::binary)
        << std::string("\x02\0\0\0\0\0\0\0{}", 10);
    return std::filesystem::path(name);
  }();
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kiln;
  if (has_large_numbers(data, size)) return 0;
  std::ofstream(folder() / "config.json", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  return fuzz([&] { import_huggingface(folder()); });
}
