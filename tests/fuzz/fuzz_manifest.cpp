#include <nlohmann/json.hpp>

#include "data/store/manifest_json.h"
#include "tests/fuzz/fuzz.h"

// dataset.json.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kiln;
  return fuzz([&] {
    try {
      const Manifest manifest =
          manifest_from_json(nlohmann::ordered_json::parse(data, data + size));
      manifest.fingerprint();
      for (const auto& [name, field] : manifest.fields) field.row_bytes();
      manifest_from_json(manifest_to_json(manifest));
    } catch (const nlohmann::json::exception&) {  // read_manifest() names the file
    }
  });
}
