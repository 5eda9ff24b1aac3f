#include <csetjmp>
#include <cstdio>
// libjpeg's headers want <cstdio> first.
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/images/orientation.h"

namespace kiln {
namespace {

// libjpeg leaves through longjmp, so between setjmp and the library nothing may need a destructor.
struct Errors {
  jpeg_error_mgr manager = {};
  std::jmp_buf leave = {};
  char message[JMSG_LENGTH_MAX] = {};
};

void leave(j_common_ptr codec) {
  auto* errors = reinterpret_cast<Errors*>(codec->err);
  errors->manager.format_message(codec, errors->message);
  std::longjmp(errors->leave, 1);
}

// Warnings are let pass, as by everybody, but the two that mean missing pixels.
void on_message(j_common_ptr codec, int level) {
  if (level >= 0) return;
  const int code = codec->err->msg_code;
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER) leave(codec);
}

void set_up(Errors& errors) {
  jpeg_std_error(&errors.manager);
  errors.manager.error_exit = leave;
  errors.manager.emit_message = on_message;
}

// Runs calls of the library; their failure becomes an Error.
template <typename Calls>
void guard(Errors& errors, const Calls& calls) {
  if (setjmp(errors.leave) != 0) throw data_error("{}", errors.message);
  calls();
}

// (a * b + 127.5) / 255, rounded, without a division.
std::uint8_t multiply_unit(int a, int b) {
  const int product = a * b + 128;
  return static_cast<std::uint8_t>((product + (product >> 8)) >> 8);
}

class JpegFormat : public ImageDecoder::Format {
 public:
  explicit JpegFormat(std::span<const std::uint8_t> file) {
    set_up(errors_);
    codec_.err = &errors_.manager;
    jpeg_create_decompress(&codec_);
    try {
      guard(errors_, [&] {
        jpeg_mem_src(&codec_, file.data(), static_cast<unsigned long>(file.size()));
        jpeg_save_markers(&codec_, JPEG_APP0 + 1, 0xFFFF);
        jpeg_read_header(&codec_, TRUE);
      });
    } catch (...) {
      jpeg_destroy_decompress(&codec_);
      throw;
    }
    orientation_ = find_orientation();
    // Some files of a few bytes go over all pixels a thousand times.
    limit_.progress_monitor = stop_at_many_scans;
    if (jpeg_has_multiple_scans(&codec_) != 0) codec_.progress = &limit_;
  }
  ~JpegFormat() override { jpeg_destroy_decompress(&codec_); }

  Box stored_size() const override { return {0, 0, codec_.image_width, codec_.image_height}; }
  std::int64_t stored_channels() const override {
    return codec_.jpeg_color_space == JCS_GRAYSCALE ? 1 : 3;
  }
  int orientation() const override { return orientation_; }

  ImageView decode(const Box& region, std::int64_t channels, Image& memory) override {
    const bool is_cmyk = codec_.jpeg_color_space == JCS_CMYK || codec_.jpeg_color_space == JCS_YCCK;
    codec_.out_color_space = is_cmyk ? JCS_CMYK : channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    codec_.dct_method = JDCT_ISLOW;
    codec_.do_fancy_upsampling = TRUE;
    const ImageView decoded = decode_rows(region, memory);
    if (!is_cmyk) return decoded;
    memory = convert_cmyk(decoded, channels);
    return memory;
  }

 private:
  // Pixels beyond the region that smooth chroma upsampling looks at, with room for 4:1:0.
  static constexpr std::int64_t kMargin = 8;

  static void stop_at_many_scans(j_common_ptr codec) {
    constexpr int kMostScans = 500;
    if (reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number <= kMostScans) return;
    auto* errors = reinterpret_cast<Errors*>(codec->err);
    std::strncpy(errors->message, "more than 500 scans", sizeof(errors->message) - 1);
    std::longjmp(errors->leave, 1);
  }

  // The first EXIF block counts; where it is silent, XMP.
  int find_orientation() const {
    constexpr std::string_view kExif("Exif\0\0", 6);
    constexpr std::string_view kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
    std::optional<int> from_exif, from_xmp;
    bool has_exif = false;
    for (auto* marker = codec_.marker_list; marker != nullptr; marker = marker->next) {
      const std::string_view text(reinterpret_cast<const char*>(marker->data), marker->data_length);
      if (text.starts_with(kExif) && !has_exif) {
        has_exif = true;
        from_exif = exif_orientation({marker->data, marker->data_length});
      } else if (text.starts_with(kXmp) && !from_xmp) {
        from_xmp = xmp_orientation(text.substr(kXmp.size()));
      }
    }
    return from_exif.value_or(from_xmp.value_or(1));
  }

  // Rows come as wide as the library crops: to whole blocks.
  ImageView decode_rows(const Box& region, Image& memory) {
    JDIMENSION first = 0;
    guard(errors_, [&] {
      jpeg_start_decompress(&codec_);
      const std::int64_t left = std::max<std::int64_t>(region.left - kMargin, 0);
      const std::int64_t right =
          std::min<std::int64_t>(region.left + region.width + kMargin, codec_.output_width);
      first = static_cast<JDIMENSION>(left);
      auto width = static_cast<JDIMENSION>(right - left);
      if (width < codec_.output_width) jpeg_crop_scanline(&codec_, &first, &width);
    });
    memory.reshape(codec_.output_width, region.height, codec_.out_color_components);
    guard(errors_, [&] {
      if (region.top > 0) jpeg_skip_scanlines(&codec_, static_cast<JDIMENSION>(region.top));
      for (std::int64_t y = 0; y < region.height; ++y) {
        JSAMPROW row = memory.row(y);
        jpeg_read_scanlines(&codec_, &row, 1);
      }
      jpeg_abort_decompress(&codec_);
    });
    const std::int64_t left = region.left - static_cast<std::int64_t>(first);
    return {memory, {left, 0, region.width, region.height}};
  }

  // The inks are stored inverted: Adobe's files always are, and readers take all others as such.
  static Image convert_cmyk(const ImageView& inks, std::int64_t channels) {
    Image out(inks.width, inks.height, channels);
    constexpr int kFlip = 255;
    std::uint8_t* to = out.pixels.data();
    for (std::int64_t y = 0; y < inks.height; ++y) {
      const std::uint8_t* ink = inks.row(y);
      for (std::int64_t x = 0; x < inks.width; ++x, ink += 4, to += channels) {
        const int white = 255 - (ink[3] ^ kFlip);
        int rgb[3];
        for (std::size_t c = 0; c < 3; ++c) {
          rgb[c] = std::max(white - multiply_unit(ink[c] ^ kFlip, white), 0);
        }
        if (channels == 3) {
          std::copy_n(rgb, 3, to);
        } else {
          *to = static_cast<std::uint8_t>(
              (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 32768) >> 16);
        }
      }
    }
    return out;
  }

  Errors errors_;
  jpeg_decompress_struct codec_ = {};
  jpeg_progress_mgr limit_ = {};
  int orientation_ = 1;
};

}  // namespace

std::unique_ptr<ImageDecoder::Format> open_jpeg(std::span<const std::uint8_t> file) {
  return std::make_unique<JpegFormat>(file);
}

std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality) {
  Errors errors;
  set_up(errors);
  jpeg_compress_struct codec = {};
  codec.err = &errors.manager;
  jpeg_create_compress(&codec);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  const auto release = [&] {
    jpeg_destroy_compress(&codec);
    std::free(buffer);
  };
  try {
    guard(errors, [&] {
      jpeg_mem_dest(&codec, &buffer, &size);
      codec.image_width = static_cast<JDIMENSION>(image.width);
      codec.image_height = static_cast<JDIMENSION>(image.height);
      codec.input_components = static_cast<int>(image.channels);
      codec.in_color_space = image.channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
      jpeg_set_defaults(&codec);
      jpeg_set_quality(&codec, quality, TRUE);
      codec.dct_method = JDCT_ISLOW;
      jpeg_start_compress(&codec, TRUE);
      for (std::int64_t y = 0; y < image.height; ++y) {
        JSAMPROW rows[1] = {const_cast<std::uint8_t*>(image.row(y))};
        jpeg_write_scanlines(&codec, rows, 1);
      }
      jpeg_finish_compress(&codec);
    });
  } catch (...) {
    release();
    throw;
  }
  std::vector<std::uint8_t> bytes(buffer, buffer + size);
  release();
  return bytes;
}

}  // namespace kiln
