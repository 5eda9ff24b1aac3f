#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "data/images/decode.h"
#include "data/store/manifest.h"
#include "data/store/shard.h"

namespace kiln {

/// What all importers share. Ranks own whole shards, whose contents do not depend on num_ranks or
/// num_threads: any number of them makes the same dataset.
struct ImportOptions {
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path out;
  std::int64_t num_threads = 1;
  std::int64_t rank = 0;
  std::int64_t num_ranks = 1;
  std::int64_t shard_bytes = std::int64_t{256} << 20;
  /// Samples done and samples in all, of this rank's share; called from one thread at a time.
  std::function<void(std::int64_t, std::int64_t)> progress;

  // images
  bool skip_broken = false;   // leave out files that cannot be used
  std::int64_t max_side = 0;  // scale down so that the longer side is at most this; 0: as is
  std::int64_t min_side = 8;  // images with a shorter side count as broken

  std::int64_t max_pixels = kMostPixels;  // images of more count as broken, and are not decoded

  // hdf5
  std::vector<std::string> fields;  // field=path words
  std::string layout = "auto";      // of raw images: auto | hwc | chw
};

/// What an importer left out, and why: "not a picture (.txt)" -> which.
struct LeftOut {
  static constexpr std::size_t kExamples = 3;
  struct Reason {
    std::int64_t count = 0;
    std::vector<std::string> examples;  // the first few
  };
  std::map<std::string, Reason> reasons;

  void add(const std::string& reason, const std::string& example);
  void add(const std::string& reason, const Reason& which);
  std::int64_t count() const;
};

struct BrokenInput {
  std::string file;
  std::string reason;
};

struct ImportResult {
  std::int64_t num_samples = 0;  // written by this rank
  std::int64_t bytes = 0;
};

/// MNIST family: an images file (or a folder that holds one per split) and its labels file, gzipped
/// or not. Counts, sizes and magic numbers that disagree are refused with the numbers found.
///
/// inputs: a folder and optionally `split`, or {images file, labels file}.
ImportResult import_idx(const ImportOptions& options, const std::string& split = "train");

/// Pictures: JPEG, PNG, WebP, TIFF and BMP files. A folder of folders: each inner folder is a class,
/// empty ones too, files anywhere below it its images; a folder of files: images without labels.
/// JPEG and PNG files are stored as they are, others as PNG (or all scaled down to max_side and
/// re-encoded as JPEG at quality 90), every one decoded once to see that it is whole. What is
/// hidden (".git") or no picture by its ending is left out and counted. Classes are mixed: the order
/// of the files is shuffled once, the same way on every machine.
ImportResult import_images(const ImportOptions& options);

/// WebDataset archives: *.tar files, or folders of them, read as the webdataset library does.
/// Neighbouring files that share a name up to its first dot are a sample: a picture and,
/// optionally, its class number (.cls); endings in any case. Order is kept. What belongs to no
/// sample is counted by reason; samples torn apart, two pictures or names that come twice are
/// refused.
ImportResult import_webdataset(const ImportOptions& options);

/// HDF5 files made by others, copied into shards: arrays chunked or compressed become contiguous,
/// images channels last. options.fields says which array is which field: "image=/path/in/file".
/// Without fields the input is a dataset of ours, which is repacked into shards of
/// options.shard_bytes.
ImportResult import_hdf5(const ImportOptions& options);

/// {"image=/x", "label=/y"} as a mapping; usage errors name the word that is none, or a field that
/// is not known or named twice.
FieldPaths parse_field_words(const std::vector<std::string>& words);

struct FinishedImport {
  Manifest manifest;
  std::vector<BrokenInput> skipped;
  LeftOut left_out;
  /// Samples of each class, as many as there are names.
  std::vector<std::int64_t> class_counts;
};

/// Every import ends with this on one rank, after all have returned: writes dataset.json from the
/// shards' descriptions, which the ranks left in the folder. Throws Error(kData) that lists the
/// broken inputs, if there are any and skip_broken is off.
FinishedImport finish_import(const ImportOptions& options);

}  // namespace kiln
