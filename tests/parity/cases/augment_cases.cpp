#include <fmt/format.h>

#include <algorithm>

#include "data/images/resize.h"
#include "data/views/augment.h"
#include "data/views/blur.h"
#include "data/views/colour.h"
#include "models/layers/image_input.h"
#include "tests/parity/runners.h"

// Our views are the kind "pil": 8 bits after every step, equal to Pillow to the last bit. What
// Pillow has not, the Gaussian itself, is held against torchvision on 8 bits (one grey level) and
// against the equation (half a level of rounding, and what fixed point adds).

namespace kiln::parity {
namespace {

using nlohmann::json;

constexpr Bound kEqual{0.0, 0.0};
constexpr Bound kOneLevel{1.0, 0.0};
constexpr Bound kRounded{0.55 / 255.0, 0.0};

Image to_image(const at::Tensor& pixels) {
  const at::Tensor host = pixels.cpu().contiguous();
  Image image(host.size(1), host.size(0), host.size(2));
  std::copy_n(host.data_ptr<std::uint8_t>(), host.numel(), image.pixels.data());
  return image;
}

at::Tensor to_tensor(const Image& image) {
  at::Tensor pixels = at::empty({image.height, image.width, image.channels}, at::kByte);
  std::copy_n(image.pixels.data(), pixels.numel(), pixels.data_ptr<std::uint8_t>());
  return pixels;
}

Pixels pixels_of(Image& image) {
  return {image.pixels.data(), image.width * image.height, image.channels};
}

Box box_of(const json& crop) {
  return {crop.at("left"), crop.at("top"), crop.at("width"), crop.at("height")};
}

void blur(Image& image, const json& op, BlurEdge edge) {
  const std::int64_t taps = op.at("kernel").get<std::int64_t>() / 2 * 2 + 1;
  blur_gaussian(image.pixels.data(), image.width, image.height, image.channels, op.at("sigma"),
                taps, edge);
}

Image crop(const Image& image, const json& op) {
  Image out(op.at("size")[1], op.at("size")[0], image.channels);
  const Filter filter = op.at("interpolation") == "bilinear" ? Filter::kBilinear : Filter::kBicubic;
  resize(ImageView(image, box_of(op)), out.width, out.height, filter, {0, 0, out.width, out.height},
         false, out.pixels.data());
  return out;
}

/// What a single operation makes of a picture.
Image apply(const json& op, Image image) {
  const std::string name = op.at("op");
  const auto factor = [&] { return op.at("factor").get<float>(); };
  if (name == "resized_crop") return crop(image, op);
  if (name == "brightness") adjust_brightness(pixels_of(image), factor());
  if (name == "contrast") adjust_contrast(pixels_of(image), factor());
  if (name == "saturation") adjust_saturation(pixels_of(image), factor());
  if (name == "hue") adjust_hue(pixels_of(image), factor());
  if (name == "grayscale") make_grey(pixels_of(image));
  if (name == "solarize") solarise(pixels_of(image), op.at("threshold"));
  if (name == "blur_radius") {
    blur_pillow(image.pixels.data(), image.width, image.height, image.channels, op.at("sigma"));
  }
  if (name == "blur_kernel") blur(image, op, BlurEdge::kMirrored);
  if (name == "blur_simclr") blur(image, op, BlurEdge::kBlack);
  return image;
}

void compare_operation(const Case& reference, std::size_t number, const json& op, Report& report) {
  const std::string image = "img." + std::to_string(op.at("image").get<int>());
  const at::Tensor ours = to_tensor(apply(op, to_image(reference.at(image))));
  const std::string stem = fmt::format("op.{:03}.", number);
  const std::string name = op.at("op");
  if (name == "blur_kernel") {
    report.compare(stem + "tensor", ours, kOneLevel);
  } else if (name == "blur_simclr") {
    report.compare(stem + "float", ours.to(at::kDouble) / 255.0, kRounded);
  } else {
    report.compare(stem + "pil", ours, kEqual);
  }
}

ViewDraw draw_of(const json& chain) {
  ViewDraw draw;
  draw.region = box_of(chain.at("crop"));
  draw.is_mirrored = chain.at("flip") == 1;
  draw.is_grey = chain.at("gray") == 1;
  draw.is_solarised = chain.at("solarize") == 1;
  if (!chain.at("sigma").is_null()) draw.blur_sigma = chain.at("sigma");
  const json& jitter = chain.at("jitter");
  draw.is_jittered = !jitter.is_null();
  if (!draw.is_jittered) return draw;
  for (std::size_t i = 0; i < draw.order.size(); ++i) {
    draw.order[i] = static_cast<ViewDraw::Change>(jitter.at("order")[i].get<int>());
  }
  draw.amounts = {jitter.at("brightness"), jitter.at("contrast"), jitter.at("saturation"),
                  jitter.at("hue")};
  return draw;
}

void compare_chain(const Case& reference, std::size_t number, const json& chain,
                   const PixelNormalisation& normalisation, Report& report) {
  const Image image = to_image(reference.at("img." + std::to_string(chain.at("image").get<int>())));
  ViewOptions options;
  options.size = chain.at("crop").at("size")[0];
  options.interpolation = chain.at("crop").at("interpolation");
  options.jitter = {1.0, 1.0, 1.0, 0.5};  // all that the order names are made
  const ViewDraw draw = draw_of(chain);
  Image view(options.size, options.size, image.channels);
  make_view(ImageView(image, draw.region), options, draw, view.pixels.data());
  const at::Tensor ours = to_tensor(view);
  const std::string stem = fmt::format("chain.{}.", number);
  report.compare(stem + "pil", ours, kEqual);
  report.compare(stem + "pil_normalized", normalisation.normalise(ours).permute({2, 0, 1}));
}

std::vector<double> doubles(const at::Tensor& values) {
  const at::Tensor host = values.cpu().to(at::kDouble).contiguous();
  return {host.data_ptr<double>(), host.data_ptr<double>() + host.numel()};
}

void run_augment(Case& reference, Report& report) {
  const json& settings = reference.info.at("settings");
  for (std::size_t i = 0; i < settings.at("ops").size(); ++i) {
    compare_operation(reference, i, settings.at("ops")[i], report);
  }
  const PixelNormalisation normalisation(doubles(reference.at("mean")),
                                         doubles(reference.at("std")));
  for (std::size_t i = 0; i < settings.at("chains").size(); ++i) {
    compare_chain(reference, i, settings.at("chains")[i], normalisation, report);
  }
  // The other kinds are other programs' results.
  for (const auto& [name, entry] : reference.info.at("tensors").items()) {
    for (const char* kind : {".tensor", ".float", ".tensor_normalized"}) {
      if (name.ends_with(kind)) report.skip(name);
    }
  }
}

}  // namespace

Runners augment_runners() { return {{.name = "augment", .run = run_augment}}; }

}  // namespace kiln::parity
