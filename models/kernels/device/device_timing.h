#pragma once

#include <functional>

namespace kiln {

/// Seconds that `work` takes on the device's current stream: the median of a few runs after one to
/// warm up. Waits for the stream.
double device_seconds(const std::function<void()>& work);

/// Whether the current stream is being recorded into a CUDA graph: then nothing can be timed.
bool is_capturing();

}  // namespace kiln
