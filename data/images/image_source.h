#pragma once

#include <memory>

#include "core/dataset_info.h"
#include "data/batch_source.h"
#include "data/options.h"
#include "data/store/dataset.h"

namespace kiln {

/// Opens data.path with the mapping of data.fields.
std::shared_ptr<const Dataset> open_dataset(const DataOptions& options);

/// The field of images. Throws Error(kData) if the dataset has none, or one of another form.
const FieldInfo& image_field(const Dataset& dataset);
/// What decoders of its images may be asked for: more than usual where an import allowed more.
std::int64_t max_pixels_of(const Dataset& dataset);

/// What a model needs to know of the images it will see. Throws Error(kData) if the dataset has no
/// images, or images that cannot be brought to the recipe's size.
DatasetInfo describe_images(const Dataset& dataset, const ImageOptions& options);

/// Images as "image" uint8 [B, H, W, C] and, if the dataset has them, "label" int64 [B].
/// For evaluation give options without random crop and flip: evaluation_options(). Views are of
/// data/views/view_source.h.
std::shared_ptr<const BatchSource> make_image_source(std::shared_ptr<const Dataset> dataset,
                                                     const ImageOptions& options,
                                                     std::uint64_t seed);

/// The same images without chance: a centre crop where training crops at random, and no flip.
/// Where training sees views, one picture of the first group's size and interpolation.
ImageOptions evaluation_options(ImageOptions options);

}  // namespace kiln
