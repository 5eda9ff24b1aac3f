#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "data/importers/import.h"
#include "data/importers/picture_import.h"
#include "data/permutation.h"
#include "data/store/folder_walk.h"
#include "data/tokenizer/utf8.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

struct Found {
  PictureInput input;
  std::string class_name;  // empty: none
};

/// All files below the inputs, what is left out of them, and the folders that are classes.
struct Listing {
  std::vector<Found> found;
  LeftOut left_out;
  std::set<std::string> folders;
};

std::string class_of(const fs::path& file, const fs::path& root) {
  const fs::path inner = file.lexically_relative(root);
  return inner.has_parent_path() ? inner.begin()->string() : "";
}

void list_folder(const fs::path& root, Listing& listing) {
  std::error_code code;
  if (!fs::is_directory(root, code)) {
    throw data_error("'{}' is not a folder of images", root.string());
  }
  const FolderContents contents = walk_folder(root);
  for (const auto& file : contents.files) {
    if (has_picture_ending(file.path)) {
      listing.found.push_back(
          {{file.path, 0, file.bytes, 0, file.path.string(), ""}, class_of(file.path, root)});
    } else {
      const std::string ending = file.path.extension().string();
      listing.left_out.add(
          fmt::format("no picture by its ending ({})", ending.empty() ? "none" : ending),
          file.path.string());
    }
  }
  for (const auto& other : contents.left_out) {
    listing.left_out.add(other.reason, other.path.string());
  }
  for (const auto& other : contents.broken) {
    listing.found.push_back(
        {{other.path, 0, 0, 0, other.path.string(), other.reason}, class_of(other.path, root)});
  }
  listing.folders.insert(contents.folders.begin(), contents.folders.end());
}

void sort_by_path(std::vector<Found>& found) {
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.input.file < b.input.file; });
}

std::vector<std::string> check_names(const std::set<std::string>& names) {
  for (const std::string& name : names) {
    std::string repaired = name;
    if (repair_utf8(repaired) > 0) {
      throw data_error("the folder '{}' has a name that is not UTF-8: rename it", repaired);
    }
  }
  return {names.begin(), names.end()};
}

// Sorted names of the folders, empty ones too; none for a flat folder.
std::vector<std::string> classes_of(const Listing& listing) {
  std::set<std::string> names = listing.folders;
  for (const Found& file : listing.found) {
    if (!file.input.broken.empty()) continue;
    if (!file.class_name.empty()) names.insert(file.class_name);
  }
  const auto is_stray = [](const Found& file) {
    return file.class_name.empty() && file.input.broken.empty();
  };
  const auto stray = std::ranges::find_if(listing.found, is_stray);
  if (stray == listing.found.end()) return check_names(names);
  if (std::ranges::all_of(listing.found,
                          [](const Found& file) { return file.class_name.empty(); })) {
    return {};
  }
  throw data_error(
      "'{}' lies beside the folders of the classes: put every image into its class's folder, or "
      "all into one folder",
      stray->input.name);
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
  Listing listing;
  for (const fs::path& root : options.inputs) list_folder(root, listing);
  if (listing.found.empty()) {
    throw data_error(
        "no *.jpg, *.png, *.webp, *.tiff or *.bmp file lies in or below '{}', but {} others",
        options.inputs.empty() ? "" : options.inputs[0].string(), listing.left_out.count());
  }
  sort_by_path(listing.found);
  Manifest manifest;
  manifest.class_names = classes_of(listing);
  manifest.provenance["importer"] = "images";
  auto inputs = mix(std::move(listing.found), manifest.class_names);
  return import_pictures(options, inputs, manifest, listing.left_out);
}

}  // namespace kiln
