#include <fuzzer/FuzzedDataProvider.h>
#include <hdf5.h>

#include "data/images/image_source.h"
#include "data/importers/import.h"
#include "data/loader.h"
#include "data/store/class_map.h"
#include "tests/fuzz/fuzz.h"

// The bytes say which arrays a file of somebody else holds, of which types, shapes and storage, and
// which of them a mapping names. What opens is read as training reads it.

namespace {

using namespace kiln;

constexpr const char* kNames[] = {"/a", "/b", "/g/data", "/g/offsets", "/link"};

hid_t type_of(FuzzedDataProvider& bytes) {
  const hid_t types[] = {H5T_STD_U8LE,   H5T_STD_U8LE,   H5T_STD_I8LE,  H5T_STD_U16BE,
                         H5T_STD_I32LE,  H5T_STD_I64LE,  H5T_STD_U64LE, H5T_STD_U64LE,
                         H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_C_S1,      H5T_STD_REF_OBJ,
                         H5T_STD_B8LE};
  return types[bytes.ConsumeIntegralInRange<std::size_t>(0, std::size(types) - 1)];
}

void add_array(hid_t file, const char* name, FuzzedDataProvider& bytes) {
  const int rank = bytes.ConsumeIntegralInRange(0, 4);
  std::vector<hsize_t> dims, chunk;
  std::size_t values = 1;
  for (int i = 0; i < rank; ++i) {
    dims.push_back(bytes.ConsumeIntegralInRange<hsize_t>(0, 9));
    chunk.push_back(std::max<hsize_t>(dims.back() / 2, 1));
    values *= dims.back();
  }
  const hid_t type = type_of(bytes);
  const hid_t space = rank == 0 ? H5Screate(bytes.ConsumeBool() ? H5S_SCALAR : H5S_NULL)
                                : H5Screate_simple(rank, dims.data(), nullptr);
  const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
  const int layout = bytes.ConsumeIntegralInRange(0, 2);
  if (layout == 1 && rank > 0) {
    H5Pset_chunk(create, rank, chunk.data());
    if (bytes.ConsumeBool()) H5Pset_deflate(create, 1);
  } else if (layout == 2) {
    H5Pset_layout(create, H5D_COMPACT);
  }
  const hid_t set = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);
  if (set >= 0 && bytes.ConsumeBool()) {
    std::vector<std::uint8_t> content =
        bytes.ConsumeBytes<std::uint8_t>(values * H5Tget_size(type));
    content.resize(std::max<std::size_t>(values * H5Tget_size(type), 1));
    H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, content.data());
  }
  if (set >= 0) H5Dclose(set);
  H5Pclose(create);
  H5Sclose(space);
}

void make_file(const std::string& path, FuzzedDataProvider& bytes) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_file_locking(access, false, true);
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  H5Pclose(access);
  if (file < 0) std::abort();
  H5Gclose(H5Gcreate2(file, "/g", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  for (int i = 0; i < 4; ++i) {
    if (bytes.ConsumeBool()) add_array(file, kNames[i], bytes);
  }
  const int kind = bytes.ConsumeIntegralInRange(0, 3);
  if (kind == 1) H5Lcreate_soft("/a", file, "/link", H5P_DEFAULT, H5P_DEFAULT);
  if (kind == 2) H5Lcreate_soft("/gone", file, "/link", H5P_DEFAULT, H5P_DEFAULT);
  if (kind == 3) H5Lcreate_external("/gone.h5", "/a", file, "/link", H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(file);
}

void read_all(const std::string& path, const FieldPaths& mapping) {
  const auto dataset =
      std::make_shared<const Dataset>(std::vector<std::filesystem::path>{path}, mapping);
  std::vector<std::uint8_t> row;
  const auto shard = dataset->shard(0);
  for (const auto& [field, info] : dataset->manifest().fields) {
    for (std::int64_t i = 0; i < dataset->num_samples(); ++i) shard->read_row(field, i, row);
    shard->hash(field);
  }
  if (mapping.contains("label")) count_classes(*dataset);
  if (!mapping.contains("image")) return;
  ImageOptions options;
  options.size = 4;
  options.crop = "center";
  const auto source = make_image_source(dataset, options, 0);
  DatasetReader(source, 1).read(0, dataset->num_samples());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  FuzzedDataProvider bytes(data, size);
  const MemoryFile file(nullptr, 0);
  make_file(file.path(), bytes);
  FieldPaths mapping;
  const std::string places[] = {"/a",    "/b",      "/g",
                                "/link", "/g/data", bytes.ConsumeRandomLengthString(8)};
  for (const char* field : {"image", "label", "tokens", "moments"}) {
    if (bytes.ConsumeBool()) mapping[field] = places[bytes.ConsumeIntegralInRange(0, 5)];
  }
  return fuzz([&] { parse_field_words({bytes.ConsumeRemainingBytesAsString()}); }) | fuzz([&] {
           if (!mapping.empty()) read_all(file.path(), mapping);
         });
}
