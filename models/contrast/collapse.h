#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <utility>

// Signs by which a collapse shows: the network gives every picture the same vector, or vectors of
// few directions, and the loss may still look well.
//
// N samples, D width, K entries of a distribution.

namespace kiln {

using ReportedMetrics = std::map<std::string, std::pair<at::Tensor, double>>;

/// Mean over dimensions of the standard deviation over samples, of rows brought to unit length, times
/// sqrt(D): 1 for vectors that fill the sphere, 0 for equal ones (SimSiam, arXiv:2011.10566, 4.1).
at::Tensor feature_deviation(const at::Tensor& rows);

/// exp of the entropy of the singular values' shares (RankMe, arXiv:2210.02885), between 1 and
/// min(N, D).
at::Tensor effective_rank(const at::Tensor& rows);

/// Mean over rows of the entropy of distributions [N, K] in nats, 0 to ln K.
at::Tensor mean_entropy(const at::Tensor& probabilities);

/// "feature_std" and "effective_rank" of rows [N, D], without gradient.
void add_collapse_metrics(const at::Tensor& rows, ReportedMetrics& metrics);

}  // namespace kiln
