#include "core/recipe/recipe_reader.h"
#include "data/options.h"
#include "tests/fuzz/fuzz.h"

// A recipe; its first line is an override.

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace kiln;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(text.find('\n'), text.size());
  return fuzz([&] {
    const std::string rest = text.substr(std::min(end + 1, text.size()));
    RecipeReader reader = RecipeReader::from_text(rest, "fuzz", {text.substr(0, end)});
    read_engine_sections(reader);
    DataOptions options;
    ImageOptions images;
    reader.read("data", options);
    reader.read("data", images);
    check(options, reader);
    check(images, reader);
    reader.finish();
    const std::string resolved = reader.resolved_toml();
    RecipeReader again = RecipeReader::from_text(resolved, "resolved", {});
    read_engine_sections(again);
    again.read("data", options);
    again.read("data", images);
    again.finish();
    if (again.identity() != reader.identity()) std::abort();
  });
}
