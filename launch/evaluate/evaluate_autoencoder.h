#pragma once

#include "launch/evaluate/evaluations.h"

namespace kiln {

/// How well an autoencoder gives pictures back, on the first eval.max_samples (0: all) samples of
/// eval.path, from 8-bit pictures in [0, 1] without padding: "psnr" and "ssim", means over
/// pictures; "mse"; "l1", and "l1_mean_picture", that of the pictures' mean, which no learning
/// takes; "perceptual", the distance model.perceptual names, else that of pixel differences at
/// three scales; and with a codebook "codebook_perplexity", the number of codes in real use.
Figures evaluate_autoencoder(const Evaluated& evaluated);

}  // namespace kiln
