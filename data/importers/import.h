#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

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

  // hdf5: field=path words
  std::vector<std::string> fields;
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

/// JPEG and PNG files. A folder of folders: each inner folder is a class, files anywhere below it
/// its images; a folder of files: images without labels. Files are stored as they are (or scaled
/// down to max_side and re-encoded at quality 90), every one decoded once to see that it is whole.
/// Classes are mixed: the order of the files is shuffled once, the same way on every machine.
ImportResult import_images(const ImportOptions& options);

/// WebDataset archives: *.tar files, or folders of them. Files that share a name up to its first
/// dot are a sample: a picture (.jpg, .jpeg, .png) and, optionally, its class number (.cls). Order
/// is kept.
ImportResult import_webdataset(const ImportOptions& options);

/// HDF5 files made by others, copied into shards: arrays chunked or compressed become contiguous.
/// options.fields says which array is which field: "image=/path/in/file". Without fields the input
/// is a dataset of ours, which is repacked into shards of options.shard_bytes.
ImportResult import_hdf5(const ImportOptions& options);

/// {"image=/x", "label=/y"} as a mapping; usage errors name the word that is none.
FieldPaths parse_field_words(const std::vector<std::string>& words);

struct FinishedImport {
  Manifest manifest;
  std::vector<BrokenInput> skipped;
};

/// Every import ends with this on one rank, after all have returned: writes dataset.json from the
/// shards' descriptions, which the ranks left in the folder. Throws Error(kData) that lists the
/// broken inputs, if there are any and skip_broken is off.
FinishedImport finish_import(const ImportOptions& options);

}  // namespace kiln
