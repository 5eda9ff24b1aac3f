#include "core/report/tensorboard.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/base/error.h"

namespace kiln {

namespace {

// Protobuf wire format: key = field << 3 | type; type 0 varint, 1 eight bytes, 2 length-delimited,
// 5 four bytes. All hosts we run on are little-endian, as the format is.

void append_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

template <typename T>
void append_bytes(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void append_int(std::string& out, int field, std::int64_t value) {
  append_varint(out, static_cast<std::uint64_t>(field) << 3);
  append_varint(out, static_cast<std::uint64_t>(value));
}

void append_text(std::string& out, int field, std::string_view value) {
  append_varint(out, (static_cast<std::uint64_t>(field) << 3) | 2);
  append_varint(out, value.size());
  out.append(value);
}

void append_float(std::string& out, int field, float value) {
  append_varint(out, (static_cast<std::uint64_t>(field) << 3) | 5);
  append_bytes(out, value);
}

void append_double(std::string& out, int field, double value) {
  append_varint(out, (static_cast<std::uint64_t>(field) << 3) | 1);
  append_bytes(out, value);
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::uint32_t masked_crc(std::string_view data) {
  return std::rotr(crc32c(data), 15) + 0xa282ead8u;
}

}  // namespace

std::uint32_t crc32c(std::string_view data) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0x82f63b78u : 0u);
      entries[i] = value;
    }
    return entries;
  }();
  std::uint32_t crc = ~0u;
  for (const char c : data) crc = (crc >> 8) ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& folder) {
  char host[256] = "host";
  gethostname(host, sizeof(host) - 1);
  const auto path =
      folder / fmt::format("events.out.tfevents.{:010.0f}.{}.{}", now_s(), host, getpid());
  file_ = std::fopen(path.c_str(), "wb");
  if (!file_)
    throw checkpoint_error("{} cannot be written: {}", path.string(), std::strerror(errno));
  std::string version;
  append_double(version, 1, now_s());
  append_text(version, 3, "brain.Event:2");
  record(version);
}

TensorBoardWriter::~TensorBoardWriter() { std::fclose(file_); }

void TensorBoardWriter::scalars(std::int64_t step,
                                const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    std::string entry;
    append_text(entry, 1, tag);
    append_float(entry, 2, static_cast<float>(value));
    append_text(summary, 1, entry);
  }
  event(step, summary);
}

void TensorBoardWriter::picture(std::int64_t step, const std::string& tag, int width, int height,
                                std::string_view png) {
  constexpr int kRgb = 3;
  std::string image;
  append_int(image, 1, height);
  append_int(image, 2, width);
  append_int(image, 3, kRgb);
  append_text(image, 4, png);
  std::string entry;
  append_text(entry, 1, tag);
  append_text(entry, 4, image);
  std::string summary;
  append_text(summary, 1, entry);
  event(step, summary);
}

void TensorBoardWriter::event(std::int64_t step, const std::string& summary) {
  std::string data;
  append_double(data, 1, now_s());
  append_int(data, 2, step);
  append_text(data, 5, summary);
  record(data);
}

void TensorBoardWriter::record(const std::string& data) {
  std::string header;
  append_bytes<std::uint64_t>(header, data.size());
  std::string framed = header;
  append_bytes(framed, masked_crc(header));
  framed += data;
  append_bytes(framed, masked_crc(data));
  std::fwrite(framed.data(), 1, framed.size(), file_);
  std::fflush(file_);
}

}  // namespace kiln
