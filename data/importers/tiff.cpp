#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "data/images/decode.h"
#include "data/importers/other_pictures.h"

namespace kiln {
namespace {

// The library reports through one handler of the process, on the thread that called it.
thread_local std::string last_error;

void note_error(const char*, const char* format, std::va_list values) {
  char text[512] = {};
  std::vsnprintf(text, sizeof(text), format, values);
  if (last_error.empty()) last_error = text;
}

void set_handlers() {
  static std::once_flag once;
  std::call_once(once, [] {
    TIFFSetErrorHandler(note_error);
    TIFFSetWarningHandler(nullptr);
  });
}

struct Memory {
  std::span<const std::uint8_t> file;
  std::size_t at = 0;
};

tsize_t read_memory(thandle_t handle, tdata_t out, tsize_t size) {
  auto& memory = *static_cast<Memory*>(handle);
  const std::size_t left = memory.file.size() - std::min(memory.at, memory.file.size());
  const std::size_t count = std::min(static_cast<std::size_t>(std::max<tsize_t>(size, 0)), left);
  if (count > 0) std::memcpy(out, memory.file.data() + memory.at, count);
  memory.at += count;
  return static_cast<tsize_t>(count);
}

tsize_t write_nothing(thandle_t, tdata_t, tsize_t) { return 0; }

toff_t seek_memory(thandle_t handle, toff_t offset, int from) {
  auto& memory = *static_cast<Memory*>(handle);
  if (from == SEEK_CUR) offset += memory.at;
  if (from == SEEK_END) offset += memory.file.size();
  memory.at = static_cast<std::size_t>(offset);
  return offset;
}

int close_nothing(thandle_t) { return 0; }

toff_t size_of_memory(thandle_t handle) { return static_cast<Memory*>(handle)->file.size(); }

struct Close {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};
using Tiff = std::unique_ptr<TIFF, Close>;

[[noreturn]] void refuse(const std::string& reason) { throw data_error("a TIFF file {}", reason); }

struct Tags {
  std::uint32_t width = 0, height = 0;
  std::uint16_t bits = 1, samples = 1, photometric = 0, planes = PLANARCONFIG_CONTIG;
  std::uint16_t orientation = ORIENTATION_TOPLEFT;
  std::uint16_t num_extra = 0;
  bool is_premultiplied = false;
};

Tags read_tags(TIFF* tiff) {
  Tags tags;
  std::uint16_t* extra = nullptr;
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &tags.width);
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &tags.height);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &tags.bits);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &tags.samples);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &tags.planes);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &tags.orientation);
  TIFFGetFieldDefaulted(tiff, TIFFTAG_EXTRASAMPLES, &tags.num_extra, &extra);
  if (TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &tags.photometric) == 0) refuse("without colours");
  for (std::uint16_t i = 0; i < tags.num_extra; ++i) {
    tags.is_premultiplied |= extra[i] == EXTRASAMPLE_ASSOCALPHA;
  }
  return tags;
}

/// Grey or RGB of 8 bits, perhaps with alpha, line by line.
Image read_lines(TIFF* tiff, const Tags& tags) {
  const bool is_rgb = tags.photometric == PHOTOMETRIC_RGB;
  Image image(tags.width, tags.height, is_rgb ? 3 : 1);
  if (tags.samples < image.channels) refuse("with too few values a pixel");
  std::vector<std::uint8_t> line(static_cast<std::size_t>(TIFFScanlineSize(tiff)));
  if (line.size() < std::size_t{tags.width} * tags.samples) refuse("with lines that are too short");
  const std::uint8_t flip = tags.photometric == PHOTOMETRIC_MINISWHITE ? 255 : 0;
  for (std::uint32_t y = 0; y < tags.height; ++y) {
    if (TIFFReadScanline(tiff, line.data(), y, 0) < 0) refuse("that is damaged: " + last_error);
    std::uint8_t* to = image.row(y);
    for (std::size_t x = 0; x < tags.width; ++x) {
      for (std::int64_t c = 0; c < image.channels; ++c) {
        *to++ = line[x * tags.samples + static_cast<std::size_t>(c)] ^ flip;
      }
    }
  }
  return image;
}

/// Whatever else the library turns into RGB exactly.
Image read_as_rgb(TIFF* tiff, const Tags& tags) {
  TIFFSetField(tiff, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);  // turned afterwards
  std::vector<std::uint32_t> raster(std::size_t{tags.width} * tags.height);
  if (TIFFReadRGBAImageOriented(tiff, tags.width, tags.height, raster.data(), ORIENTATION_TOPLEFT,
                                1) == 0) {
    refuse("that is damaged: " + last_error);
  }
  const bool is_grey =
      tags.photometric == PHOTOMETRIC_MINISBLACK || tags.photometric == PHOTOMETRIC_MINISWHITE;
  Image image(tags.width, tags.height, is_grey ? 1 : 3);
  std::uint8_t* to = image.pixels.data();
  for (const std::uint32_t pixel : raster) {
    *to++ = static_cast<std::uint8_t>(TIFFGetR(pixel));
    if (is_grey) continue;
    *to++ = static_cast<std::uint8_t>(TIFFGetG(pixel));
    *to++ = static_cast<std::uint8_t>(TIFFGetB(pixel));
  }
  return image;
}

}  // namespace

bool is_tiff(std::span<const std::uint8_t> file) {
  return file.size() >= 8 &&
         (std::memcmp(file.data(), "II*\0", 4) == 0 || std::memcmp(file.data(), "MM\0*", 4) == 0);
}

Image decode_tiff(std::span<const std::uint8_t> file, std::int64_t max_pixels) {
  set_handlers();
  last_error.clear();
  Memory memory = {file};
  const Tiff tiff(TIFFClientOpen("memory", "rm", &memory, read_memory, write_nothing, seek_memory,
                                 close_nothing, size_of_memory, nullptr, nullptr));
  if (!tiff) refuse("that is damaged: " + last_error);
  const Tags tags = read_tags(tiff.get());
  check_pixels(tags.width, tags.height, max_pixels);
  if (TIFFLastDirectory(tiff.get()) == 0)
    refuse("of several pages: store each as a file of its own");
  const bool is_plain = tags.photometric == PHOTOMETRIC_RGB ||
                        tags.photometric == PHOTOMETRIC_MINISBLACK ||
                        tags.photometric == PHOTOMETRIC_MINISWHITE;
  const bool has_lines = tags.planes == PLANARCONFIG_CONTIG && TIFFIsTiled(tiff.get()) == 0;
  Image image;
  if (is_plain && has_lines && tags.bits == 8 && !tags.is_premultiplied) {
    image = read_lines(tiff.get(), tags);
  } else if ((is_plain || tags.photometric == PHOTOMETRIC_YCBCR) && tags.num_extra == 0 &&
             (tags.bits == 8 || (tags.bits == 1 && tags.samples == 1))) {
    image = read_as_rgb(tiff.get(), tags);
  } else {
    refuse(fmt::format(
        "of {} values of {} bits a pixel, colours of kind {}: convert it to 8-bit grey or RGB",
        tags.samples, tags.bits, tags.photometric));
  }
  const bool is_turned = tags.orientation > 1 && tags.orientation <= 8;
  return is_turned ? apply_orientation(image, tags.orientation) : image;
}

}  // namespace kiln
