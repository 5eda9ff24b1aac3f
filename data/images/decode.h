#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/images/image.h"

namespace kiln {

/// Pictures of more pixels are not decoded: the number beyond which Pillow refuses (twice its
/// MAX_IMAGE_PIXELS). A file of a few bytes can announce far more than there is memory for.
constexpr std::int64_t kMostPixels = 178'956'970;

/// A JPEG or PNG file in memory whose header is read, so that a crop can be chosen before pixels
/// are decoded. Width, height and boxes are those of the picture as shown: EXIF orientation is
/// applied.
///
/// Pixels have 1 (grey) or 3 (RGB) channels of 8 bits, those that Pillow's convert("L") and
/// convert("RGB") give: of 16 bits the upper 8, palettes expanded, alpha dropped, CMYK converted
/// (inks inverted, as Adobe's files have them, whether a marker says so or not). JPEG uses the
/// accurate integer DCT and smooth chroma upsampling.
///
/// Throws Error(kData) with the reason when the bytes are not such a file, are damaged or cut short,
/// or announce more than `max_pixels`. The caller adds where the bytes came from. Not thread-safe;
/// the bytes must stay alive.
class ImageDecoder {
 public:
  class Format {
   public:
    virtual ~Format() = default;
    virtual Box stored_size() const = 0;
    virtual std::int64_t stored_channels() const = 0;
    virtual int orientation() const { return 1; }
    virtual ImageView decode(const Box& region, std::int64_t channels, Image& memory) = 0;
  };

  explicit ImageDecoder(std::span<const std::uint8_t> file, std::int64_t max_pixels = kMostPixels);

  std::int64_t width() const { return is_transposed() ? size_.height : size_.width; }
  std::int64_t height() const { return is_transposed() ? size_.width : size_.height; }
  /// 1 or 3, as stored.
  std::int64_t channels() const { return format_->stored_channels(); }
  /// The pixels of `region`, equal to those of a full decode, somewhere in `memory`, which is
  /// reshaped as needed. May be called once.
  ImageView decode(const Box& region, std::int64_t channels, Image& memory);
  /// All pixels.
  Image decode(std::int64_t channels);

 private:
  bool is_transposed() const { return format_->orientation() >= 5; }
  std::unique_ptr<Format> format_;
  Box size_;
};

std::unique_ptr<ImageDecoder::Format> open_jpeg(std::span<const std::uint8_t> file);
std::unique_ptr<ImageDecoder::Format> open_png(std::span<const std::uint8_t> file);

/// A JPEG file of an image of 1 or 3 channels.
std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality);

/// "a GIF file", "text", ...: what the first bytes look like, for messages.
std::string content_name(std::span<const std::uint8_t> file);

/// Throws Error(kData) if there are no pixels or more than `max_pixels`.
void check_pixels(std::int64_t width, std::int64_t height, std::int64_t max_pixels);
/// A JPEG or PNG file, whatever it holds, is told by its first bytes.
bool is_jpeg(std::span<const std::uint8_t> file);
bool is_png(std::span<const std::uint8_t> file);

/// A PNG file of an image of 1 or 3 channels.
std::vector<std::uint8_t> encode_png(const Image& image);

/// Turns stored pixels into the picture as shown.
Image apply_orientation(const ImageView& stored, int orientation);
/// Where a box of the picture as shown lies among stored pixels of the given size.
Box stored_box(const Box& shown, int orientation, const Box& stored_size);

}  // namespace kiln
