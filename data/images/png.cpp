#include <png.h>

#include <algorithm>
#include <cctype>
#include <csetjmp>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/images/orientation.h"

namespace kiln {
namespace {

// libpng leaves through longjmp, so between setjmp and the library nothing may need a destructor.
struct Errors {
  std::jmp_buf leave = {};
  char message[256] = {};
};

struct Source {
  std::span<const std::uint8_t> file;
  std::size_t at = 0;
};

void on_error(png_structp codec, const char* message) {
  auto* errors = static_cast<Errors*>(png_get_error_ptr(codec));
  std::strncpy(errors->message, message, sizeof(errors->message) - 1);
  std::longjmp(errors->leave, 1);
}

void ignore_warning(png_structp, const char*) {}

void read_bytes(png_structp codec, png_bytep out, std::size_t count) {
  auto* source = static_cast<Source*>(png_get_io_ptr(codec));
  if (source->file.size() - source->at < count) png_error(codec, "the file is cut short");
  std::memcpy(out, source->file.data() + source->at, count);
  source->at += count;
}

template <typename Calls>
void guard(Errors& errors, const Calls& calls) {
  if (setjmp(errors.leave) != 0) throw data_error("{}", errors.message);
  calls();
}

std::vector<std::uint8_t> bytes_of_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = text.find('\n');
    if (end == text.npos) return {};
    text.remove_prefix(end + 1);
  }
  std::vector<std::uint8_t> bytes;
  int high = -1;
  for (const char c : text) {
    const char* digits = "0123456789abcdef";
    const char* digit = std::strchr(digits, std::tolower(static_cast<unsigned char>(c)));
    if (c == '\0' || !digit) continue;
    const auto value = static_cast<int>(digit - digits);
    if (high >= 0) bytes.push_back(static_cast<std::uint8_t>(high * 16 + value));
    high = high >= 0 ? -1 : value;
  }
  return bytes;
}

class PngFormat : public ImageDecoder::Format {
 public:
  explicit PngFormat(std::span<const std::uint8_t> file) : source_{file} {
    codec_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &errors_, on_error, ignore_warning);
    info_ = png_create_info_struct(codec_);
    try {
      guard(errors_, [&] {
        png_set_read_fn(codec_, &source_, read_bytes);
        png_read_info(codec_, info_);
      });
    } catch (...) {
      png_destroy_read_struct(&codec_, &info_, nullptr);
      throw;
    }
  }
  ~PngFormat() override { png_destroy_read_struct(&codec_, &info_, nullptr); }

  Box stored_size() const override {
    return {0, 0, png_get_image_width(codec_, info_), png_get_image_height(codec_, info_)};
  }
  std::int64_t stored_channels() const override {
    return (png_get_color_type(codec_, info_) & PNG_COLOR_MASK_COLOR) != 0 ? 3 : 1;
  }
  int orientation() const override {
    png_uint_32 size = 0;
    png_bytep exif = nullptr;
    std::optional<int> found;
    if (png_get_eXIf_1(codec_, info_, &size, &exif) != 0) found = exif_orientation({exif, size});
    return found.value_or(orientation_of_texts().value_or(1));
  }

  // A PNG unpacks from the top in whole rows.
  ImageView decode(const Box& region, std::int64_t channels, Image& memory) override {
    const Box size = stored_size();
    guard(errors_, [&] {
      png_set_expand(codec_);
      png_set_strip_16(codec_);
      png_set_strip_alpha(codec_);
      if (channels == 3) png_set_gray_to_rgb(codec_);
      if (channels == 1) png_set_rgb_to_gray(codec_, PNG_ERROR_ACTION_NONE, 0.299, 0.587);
      png_set_interlace_handling(codec_);
      png_read_update_info(codec_, info_);
    });
    memory.reshape(size.width, size.height, channels);
    KILN_CHECK(static_cast<std::int64_t>(png_get_rowbytes(codec_, info_)) == memory.row_bytes(),
               "a PNG row of {} bytes", png_get_rowbytes(codec_, info_));
    std::vector<png_bytep> rows;
    for (std::int64_t y = 0; y < size.height; ++y) rows.push_back(memory.row(y));
    guard(errors_, [&] { png_read_image(codec_, rows.data()); });
    return {memory, region};
  }

 private:
  // XMP, and ImageMagick's EXIF in hexadecimal digits behind three lines.
  std::optional<int> orientation_of_texts() const {
    png_textp texts = nullptr;
    int count = 0;
    png_get_text(codec_, info_, &texts, &count);
    for (int i = 0; i < count; ++i) {
      if (!texts[i].text) continue;
      const std::string_view key(texts[i].key), text(texts[i].text);
      std::optional<int> found;
      if (key == "XML:com.adobe.xmp") found = xmp_orientation(text);
      if (key == "Raw profile type exif") found = exif_orientation(bytes_of_profile(text));
      if (found) return found;
    }
    return std::nullopt;
  }

  Errors errors_;
  Source source_;
  png_structp codec_ = nullptr;
  png_infop info_ = nullptr;
};

}  // namespace

std::unique_ptr<ImageDecoder::Format> open_png(std::span<const std::uint8_t> file) {
  return std::make_unique<PngFormat>(file);
}

std::vector<std::uint8_t> encode_png(const Image& image) {
  png_image info = {};
  info.version = PNG_IMAGE_VERSION;
  info.width = static_cast<png_uint_32>(image.width);
  info.height = static_cast<png_uint_32>(image.height);
  info.format = image.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(info);
  std::vector<std::uint8_t> bytes(size);
  if (png_image_write_to_memory(&info, bytes.data(), &size, 0, image.pixels.data(), 0, nullptr) ==
      0) {
    throw data_error("cannot be written as PNG: {}", info.message);
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace kiln
