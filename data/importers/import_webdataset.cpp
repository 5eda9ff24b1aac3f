#include <algorithm>
#include <charconv>

#include "core/base/error.h"
#include "data/importers/import.h"
#include "data/importers/picture_import.h"
#include "data/importers/tar.h"
#include "data/store/files.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> list_archives(const ImportOptions& options) {
  std::vector<fs::path> archives;
  for (const fs::path& input : options.inputs) {
    if (!fs::is_directory(input)) {
      archives.push_back(input);
      continue;
    }
    const std::size_t first = archives.size();
    for (const auto& entry : fs::directory_iterator(input)) {
      if (entry.path().extension() == ".tar") archives.push_back(entry.path());
    }
    std::sort(archives.begin() + static_cast<std::int64_t>(first), archives.end());
  }
  if (archives.empty()) throw data_error("no *.tar file is among the inputs");
  return archives;
}

// "a/b/0012.seg.png" -> "a/b/0012", "seg.png"
std::pair<std::string, std::string> split_name(const std::string& name) {
  const std::size_t base = name.find_last_of('/') + 1;
  const std::size_t dot = std::min(name.find('.', base), name.size());
  return {name.substr(0, dot), dot < name.size() ? name.substr(dot + 1) : ""};
}

bool is_picture(const std::string& extension) {
  return extension == "jpg" || extension == "jpeg" || extension == "png";
}

std::int32_t read_class(const fs::path& archive, const TarEntry& entry) {
  std::string text(static_cast<std::size_t>(std::min<std::int64_t>(entry.bytes, 32)), '\0');
  File::open_read(archive).read_at(text.data(), std::ssize(text), entry.offset);
  std::int32_t label = -1;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), label);
  if (code != std::errc() || label < 0) {
    throw data_error("'{}', '{}': a class is a number from 0, not '{}'", archive.string(),
                     entry.name, text);
  }
  return label;
}

struct Samples {
  std::vector<PictureInput> inputs;
  std::int64_t num_labelled = 0;
  std::int32_t largest_label = 0;
};

// Files of one sample follow each other, in any order.
void list_samples(const fs::path& archive, Samples& samples) {
  std::string key;
  std::int32_t label = -1;
  std::ptrdiff_t picture = -1;  // index in inputs of this sample's picture
  const auto end_sample = [&] {
    if (picture >= 0 && label >= 0) {
      samples.inputs[static_cast<std::size_t>(picture)].label = label;
      samples.largest_label = std::max(samples.largest_label, label);
      ++samples.num_labelled;
    }
    label = -1;
    picture = -1;
  };
  for (const TarEntry& entry : list_tar(archive)) {
    const auto [entry_key, extension] = split_name(entry.name);
    if (entry_key != key) {
      end_sample();
      key = entry_key;
    }
    if (extension == "cls") label = read_class(archive, entry);
    if (is_picture(extension)) {
      picture = std::ssize(samples.inputs);
      samples.inputs.push_back({archive, entry.offset, entry.bytes, 0,
                                fmt::format("{}: {}", archive.string(), entry.name)});
    }
  }
  end_sample();
}

}  // namespace

ImportResult import_webdataset(const ImportOptions& options) {
  Samples samples;
  for (const fs::path& archive : list_archives(options)) list_samples(archive, samples);
  const std::int64_t num_samples = std::ssize(samples.inputs);
  if (num_samples == 0) throw data_error("no .jpg, .jpeg or .png is in the archives");
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
  return import_pictures(options, samples.inputs, manifest);
}

}  // namespace kiln
