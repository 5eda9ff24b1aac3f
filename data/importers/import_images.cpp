#include <algorithm>
#include <cctype>
#include <set>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/importers/import.h"
#include "data/importers/picture_import.h"
#include "data/permutation.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

struct Found {
  PictureInput input;
  std::string class_name;  // empty: none
};

bool is_image(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

void list_folder(const fs::path& root, std::vector<Found>& found) {
  if (!fs::is_directory(root)) throw data_error("'{}' is not a folder of images", root.string());
  const auto options = fs::directory_options::follow_directory_symlink;
  for (const auto& entry : fs::recursive_directory_iterator(root, options)) {
    if (!entry.is_regular_file() || !is_image(entry.path())) continue;
    const fs::path inner = entry.path().lexically_relative(root);
    const auto bytes = static_cast<std::int64_t>(entry.file_size());
    found.push_back({{entry.path(), 0, bytes, 0, entry.path().string()},
                     inner.has_parent_path() ? inner.begin()->string() : ""});
  }
}

void sort_by_path(std::vector<Found>& found) {
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.input.file < b.input.file; });
}

// Sorted names of the folders; none for a flat folder.
std::vector<std::string> classes_of(const std::vector<Found>& found) {
  std::set<std::string> names;
  for (const Found& file : found) names.insert(file.class_name);
  if (names == std::set<std::string>{""}) return {};
  if (names.contains("")) {
    const auto stray = std::find_if(found.begin(), found.end(),
                                    [](const Found& file) { return file.class_name.empty(); });
    throw data_error(
        "'{}' lies beside the folders of the classes: put every image into its class's folder, or "
        "all into one folder",
        stray->input.name);
  }
  return {names.begin(), names.end()};
}

// An order that mixes classes, the same one on every machine.
std::vector<PictureInput> mix(std::vector<Found> found, const std::vector<std::string>& classes) {
  std::vector<PictureInput> inputs;
  const Permutation order(Philox(0, Purpose::kOrder, 0), 0, std::ssize(found));
  for (std::int64_t i = 0; i < std::ssize(found); ++i) {
    Found& file = found[static_cast<std::size_t>(order.at(i))];
    const auto name = std::lower_bound(classes.begin(), classes.end(), file.class_name);
    file.input.label = static_cast<std::int32_t>(std::distance(classes.begin(), name));
    inputs.push_back(std::move(file.input));
  }
  return inputs;
}

}  // namespace

ImportResult import_images(const ImportOptions& options) {
  std::vector<Found> found;
  for (const fs::path& root : options.inputs) list_folder(root, found);
  if (found.empty()) {
    throw data_error("no *.jpg, *.jpeg or *.png file lies in or below '{}'",
                     options.inputs.empty() ? "" : options.inputs[0].string());
  }
  sort_by_path(found);
  Manifest manifest;
  manifest.class_names = classes_of(found);
  manifest.provenance["importer"] = "images";
  return import_pictures(options, mix(std::move(found), manifest.class_names), manifest);
}

}  // namespace kiln
