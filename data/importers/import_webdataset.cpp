#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <set>
#include <string_view>

#include "core/base/error.h"
#include "data/importers/import.h"
#include "data/importers/picture_import.h"
#include "data/importers/tar.h"
#include "data/store/files.h"
#include "data/store/folder_walk.h"
#include "data/store/labels.h"
#include "data/tokenizer/utf8.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

bool is_archive(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(".tar") || name.ends_with(".tgz") || name.find(".tar.") != name.npos;
}

std::vector<fs::path> list_archives(const ImportOptions& options, LeftOut& left_out) {
  std::vector<fs::path> archives;
  for (const fs::path& input : options.inputs) {
    std::error_code code;
    if (!fs::is_directory(input, code)) {
      archives.push_back(input);
      continue;
    }
    const FolderContents contents = walk_folder(input);
    for (const auto& file : contents.files) {
      if (file.path.lexically_relative(input).has_parent_path()) {
        left_out.add("in a folder below", file.path.string());
      } else if (is_archive(file.path)) {
        archives.push_back(file.path);
      } else {
        left_out.add(fmt::format("no archive by its ending ({})", file.path.extension().string()),
                     file.path.string());
      }
    }
    for (const auto& other : contents.left_out) left_out.add(other.reason, other.path.string());
    for (const auto& other : contents.broken) {
      throw data_error("'{}' is {}: remove or mend it", other.path.string(), other.reason);
    }
  }
  if (archives.empty()) throw data_error("no *.tar file is among the inputs");
  return archives;
}

/// "a/b/0012.seg.png" -> {"a/b/0012", "seg.png"}, with the extension in small letters. Names that
/// begin with a dot, or have none, belong to no sample: {"", ""}.
std::pair<std::string, std::string> split_name(const std::string& name) {
  const std::size_t base = name.find_last_of('/') + 1;
  const std::size_t dot = name.find('.', base);
  if (dot == name.npos || dot == base) return {};
  std::string extension = name.substr(dot + 1);
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return {name.substr(0, dot), extension};
}

/// "__meta__" and what lies in it are about the archive.
bool is_meta(const std::string& name) {
  if (!name.starts_with("__")) return false;
  return name.substr(0, name.find('/')).ends_with("__") && name.find('/') != 2 && name.size() > 3;
}

std::int32_t read_class(const fs::path& archive, const TarEntry& entry) {
  constexpr std::string_view kBlanks = " \t\n\v\f\r";
  constexpr std::int64_t kMostBytes = 64;
  std::string text(static_cast<std::size_t>(std::min(entry.bytes, kMostBytes)), '\0');
  File::open_read(archive).read_at(text.data(), std::ssize(text), entry.offset);
  std::string_view digits = text;
  digits.remove_prefix(std::min(digits.find_first_not_of(kBlanks), digits.size()));
  digits.remove_suffix(digits.size() -
                       std::min(digits.find_last_not_of(kBlanks) + 1, digits.size()));
  std::int32_t label = -1;
  const char* last = digits.data() + digits.size();
  const auto [end, code] = std::from_chars(digits.data(), last, label);
  if (code != std::errc() || end != last || label < 0 || label >= kMostClasses ||
      entry.bytes > kMostBytes) {
    repair_utf8(text);
    throw data_error("'{}', '{}': a class is a number from 0 to {}, not '{}'", archive.string(),
                     entry.name, kMostClasses - 1, text);
  }
  return label;
}

struct Samples {
  std::vector<PictureInput> inputs;
  std::int64_t num_labelled = 0;
  std::int32_t largest_label = 0;
  LeftOut left_out;
};

/// Neighbours in an archive that share a key.
struct Group {
  std::string key;
  std::map<std::string, TarEntry> members;  // by extension
};

void add_sample(const fs::path& archive, const Group& group, Samples& samples) {
  const auto where = [&](const TarEntry& entry) { return archive.string() + ": " + entry.name; };
  const TarEntry* picture = nullptr;
  for (const auto& [extension, entry] : group.members) {
    if (!has_picture_ending("x." + extension) || extension.find('.') != extension.npos) continue;
    if (picture != nullptr) {
      throw data_error("'{}': the sample '{}' has two pictures, '{}' and '{}': leave one in",
                       archive.string(), group.key, picture->name, entry.name);
    }
    picture = &entry;
  }
  std::int32_t label = -1;
  for (const auto& [extension, entry] : group.members) {
    if (&entry == picture) continue;
    if (picture == nullptr) {
      samples.left_out.add("of a sample without a picture", where(entry));
    } else if (extension == "cls") {
      label = read_class(archive, entry);
    } else {
      samples.left_out.add(fmt::format("beside a picture, not used (.{})", extension),
                           where(entry));
    }
  }
  if (picture == nullptr) return;
  samples.inputs.push_back(
      {archive, picture->offset, picture->bytes, std::max(label, 0), where(*picture), ""});
  if (label < 0) return;
  samples.largest_label = std::max(samples.largest_label, label);
  ++samples.num_labelled;
}

void list_samples(const fs::path& archive, Samples& samples) {
  TarContents contents = list_tar(archive);
  for (const auto& [reason, which] : contents.left_out.reasons) {
    samples.left_out.add(reason, which);
  }
  Group group;
  std::set<std::string> done;
  const auto close = [&] {
    if (!group.members.empty()) add_sample(archive, group, samples);
    if (!group.key.empty()) done.insert(group.key);
    group = {};
  };
  for (TarEntry& entry : contents.files) {
    const auto [key, extension] = split_name(entry.name);
    if (key.empty() || is_meta(entry.name)) {
      samples.left_out.add(key.empty() ? "a name without a key or an ending" : "about the archive",
                           archive.string() + ": " + entry.name);
      continue;
    }
    if (key != group.key) close();
    if (done.contains(key)) {
      throw data_error(
          "'{}', '{}': other members of the sample '{}' lie apart from it; those of a sample must "
          "follow each other (pack the archive with tar --sort=name)",
          archive.string(), entry.name, key);
    }
    group.key = key;
    const std::string name = entry.name;
    if (!group.members.emplace(extension, std::move(entry)).second) {
      throw data_error("'{}', '{}': the sample '{}' has two members .{}", archive.string(), name,
                       key, extension);
    }
  }
  close();
}

}  // namespace

ImportResult import_webdataset(const ImportOptions& options) {
  Samples samples;
  for (const fs::path& archive : list_archives(options, samples.left_out)) {
    list_samples(archive, samples);
  }
  const std::int64_t num_samples = std::ssize(samples.inputs);
  if (num_samples == 0) {
    throw data_error(
        "no picture (.jpg, .png, .webp, .tiff, .bmp) is in the archives, but {} members "
        "of other kinds",
        samples.left_out.count());
  }
  if (samples.num_labelled != 0 && samples.num_labelled != num_samples) {
    throw data_error("{} of {} pictures have a .cls file: give all of them one, or none",
                     samples.num_labelled, num_samples);
  }
  Manifest manifest;
  manifest.provenance["importer"] = "webdataset";
  for (std::int32_t label = 0; samples.num_labelled > 0 && label <= samples.largest_label;
       ++label) {
    manifest.class_names.push_back(std::to_string(label));
  }
  return import_pictures(options, samples.inputs, manifest, samples.left_out);
}

}  // namespace kiln
