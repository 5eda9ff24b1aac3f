#include "core/checkpoint/safetensors.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>
#include <optional>

namespace kiln {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMostHeaderBytes = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

struct DtypeRow {
  const char* name;
  at::ScalarType type;
};
constexpr DtypeRow kDtypes[] = {
    {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf},  {"BF16", at::kBFloat16},
    {"I64", at::kLong},   {"I32", at::kInt},   {"I16", at::kShort}, {"I8", at::kChar},
    {"U8", at::kByte},    {"BOOL", at::kBool},
};

const DtypeRow* find_dtype(const std::string& name) {
  const auto* found = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const DtypeRow& row) { return name == row.name; });
  return found == std::end(kDtypes) ? nullptr : found;
}

/// Product of non-negative sizes; nullopt where it, or that of the non-zero ones, overflows.
std::optional<std::int64_t> product(const std::vector<std::int64_t>& shape) {
  std::int64_t numel = 1;
  for (const std::int64_t size : shape)
    if (__builtin_mul_overflow(numel, std::max<std::int64_t>(size, 1), &numel)) return {};
  return std::find(shape.begin(), shape.end(), 0) == shape.end() ? numel : 0;
}

/// What a file says, checked piece by piece; `fail` names the file.
class HeaderParser {
 public:
  explicit HeaderParser(const InputFile& file) : file_(file) {}

  std::uint64_t data_begin = 0;
  std::map<std::string, SafetensorsFile::Entry> entries;
  std::map<std::string, std::string> metadata;

  void parse() {
    const Json header = read_json();
    for (const auto& [name, value] : header.items()) {
      if (name == kMetadataKey)
        parse_metadata(value);
      else
        entries.emplace(name, parse_entry(name, value));
    }
    check_layout();
  }

 private:
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw checkpoint_error("{} is not a valid safetensors file: {}", file_.path().string(),
                           fmt::format(format, std::forward<Args>(args)...));
  }

  Json read_json() {
    if (file_.size() < kLengthBytes) fail("it has {} bytes", file_.size());
    std::uint64_t header_bytes = 0;
    file_.read(0, &header_bytes, kLengthBytes);
    if (header_bytes > kMostHeaderBytes || header_bytes > file_.size() - kLengthBytes)
      fail("it has {} bytes, but claims a header of {}", file_.size(), header_bytes);
    data_begin = kLengthBytes + header_bytes;
    std::string text(header_bytes, '\0');
    file_.read(kLengthBytes, text.data(), text.size());
    Json header = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!header.is_object()) fail("its header is not a JSON object");
    return header;
  }

  void parse_metadata(const Json& value) {
    if (!value.is_object()) fail("{} is not an object", kMetadataKey);
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string()) fail("{} of '{}' is not a string", kMetadataKey, key);
      metadata.emplace(key, text.get<std::string>());
    }
  }

  SafetensorsFile::Entry parse_entry(const std::string& name, const Json& value) const {
    const auto dtype = value.is_object() ? value.find("dtype") : value.end();
    const auto shape = value.is_object() ? value.find("shape") : value.end();
    const auto offsets = value.is_object() ? value.find("data_offsets") : value.end();
    if (dtype == value.end() || shape == value.end() || offsets == value.end() ||
        !dtype->is_string() || !shape->is_array() || !offsets->is_array() || offsets->size() != 2)
      fail("'{}' lacks dtype, shape or data_offsets", name);
    SafetensorsFile::Entry entry;
    entry.dtype = dtype->get<std::string>();
    const DtypeRow* row = find_dtype(entry.dtype);
    if (row == nullptr) fail("'{}' has the unknown type '{}'", name, entry.dtype);
    for (const Json& size : *shape) entry.shape.push_back(parse_size(name, size));
    entry.begin = static_cast<std::uint64_t>(parse_size(name, (*offsets)[0]));
    entry.end = static_cast<std::uint64_t>(parse_size(name, (*offsets)[1]));
    check_length(name, *row, entry);
    return entry;
  }

  std::int64_t parse_size(const std::string& name, const Json& value) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX)
      fail("'{}' has the size or offset {}", name, value.dump(-1, ' ', true));
    return value.get<std::int64_t>();
  }

  void check_length(const std::string& name, const DtypeRow& row,
                    SafetensorsFile::Entry& entry) const {
    const auto numel = product(entry.shape);
    if (!numel) fail("'{}' has a shape too large for any file", name);
    entry.numel = *numel;
    if (entry.begin > entry.end || entry.end > file_.size() - data_begin)
      fail("'{}' is at bytes {} to {} of {}", name, entry.begin, entry.end,
           file_.size() - data_begin);
    const std::uint64_t item_bytes = c10::elementSize(row.type);
    const std::uint64_t num_bytes = entry.end - entry.begin;
    if (num_bytes % item_bytes != 0 ||
        num_bytes / item_bytes != static_cast<std::uint64_t>(entry.numel))
      fail("'{}' has {} elements of {} bytes, but {} bytes", name, entry.numel, item_bytes,
           num_bytes);
  }

  void check_layout() const {
    std::vector<std::pair<Range, const std::string*>> ranges;
    for (const auto& [name, entry] : entries)
      ranges.push_back(
          {{static_cast<std::int64_t>(entry.begin), static_cast<std::int64_t>(entry.end)}, &name});
    std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
      return std::pair(a.first.begin, a.first.end) < std::pair(b.first.begin, b.first.end);
    });
    std::int64_t next = 0;
    for (const auto& [range, name] : ranges) {
      if (range.begin != next)
        fail("'{}' begins at byte {}, the one before it ends at {}", *name, range.begin, next);
      next = range.end;
    }
    if (static_cast<std::uint64_t>(next) != file_.size() - data_begin)
      fail("its tensors end at byte {}, its data at {}", next, file_.size() - data_begin);
  }

  const InputFile& file_;
};

std::string make_header(const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                        std::map<std::string, std::string> metadata) {
  nlohmann::ordered_json header;
  metadata.emplace("format", "pt");
  header[kMetadataKey] = metadata;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    KILN_CHECK(name != kMetadataKey && !header.contains(name), "'{}' would be there twice", name);
    const std::uint64_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", safetensors_dtype(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

std::string safetensors_dtype(at::ScalarType type) {
  for (const DtypeRow& row : kDtypes)
    if (row.type == type) return row.name;
  throw checkpoint_error("safetensors has no name for the type {}", c10::toString(type));
}

at::ScalarType scalar_type_of(const std::string& dtype) {
  const DtypeRow* row = find_dtype(dtype);
  if (row == nullptr) throw checkpoint_error("unknown safetensors type '{}'", dtype);
  return row->type;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  HeaderParser parser(file_);
  parser.parse();
  entries_ = std::move(parser.entries);
  metadata_ = std::move(parser.metadata);
  data_begin_ = parser.data_begin;
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    throw checkpoint_error("{} has no tensor '{}'", file_.path().string(), name);
  return found->second;
}

at::Tensor SafetensorsFile::read(const std::string& name) const {
  const Entry& found = entry(name);
  return read(name, {0, found.numel}).view(found.shape);
}

at::Tensor SafetensorsFile::read(const std::string& name, Range elements) const {
  const Entry& found = entry(name);
  KILN_CHECK(0 <= elements.begin && elements.begin <= elements.end && elements.end <= found.numel,
             "elements {} to {} of {} in '{}'", elements.begin, elements.end, found.numel, name);
  const at::ScalarType type = scalar_type_of(found.dtype);
  at::Tensor tensor = at::empty({elements.size()}, at::TensorOptions().dtype(type));
  const auto offset = static_cast<std::uint64_t>(elements.begin) * c10::elementSize(type);
  file_.read(data_begin_ + found.begin + offset, tensor.data_ptr(), tensor.nbytes());
  if (type == at::kBool) {  // any other byte in a bool is undefined behaviour
    const auto* bytes = static_cast<const std::uint8_t*>(tensor.data_ptr());
    if (std::any_of(bytes, bytes + tensor.nbytes(), [](std::uint8_t byte) { return byte > 1; }))
      throw checkpoint_error("'{}' in {} holds booleans other than 0 and 1", name,
                             file_.path().string());
  }
  return tensor;
}

FileHash write_safetensors(const std::filesystem::path& path,
                           const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                           const std::map<std::string, std::string>& metadata, FileSystem& files) {
  auto ordered = tensors;
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return a.second.element_size() > b.second.element_size();
  });
  const std::string header = make_header(ordered, metadata);
  const std::uint64_t header_bytes = header.size();

  const auto file = files.create(path);
  Xxh3Stream stream;
  std::uint64_t num_bytes = 0;
  const auto write = [&](const void* data, std::size_t count) {
    file->write(data, count);
    stream.update(data, count);
    num_bytes += count;
  };
  write(&header_bytes, kLengthBytes);
  write(header.data(), header.size());
  for (const auto& [name, tensor] : ordered) {
    KILN_CHECK(tensor.device().is_cpu(), "'{}' is not on the host", name);
    const at::Tensor contiguous = tensor.contiguous();
    write(contiguous.const_data_ptr(), contiguous.nbytes());
  }
  file->sync();
  return {num_bytes, stream.digest().hex()};
}

}  // namespace kiln
