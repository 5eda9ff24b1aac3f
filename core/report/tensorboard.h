#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kiln {

/// Writes a TensorBoard event file (events.out.tfevents.TIME.HOST): TFRecords of Event messages,
/// encoded by hand because five fields do not justify a protobuf dependency.
class TensorBoardWriter {
 public:
  /// Throws Error(kCheckpoint) when the file cannot be made.
  explicit TensorBoardWriter(const std::filesystem::path& folder);
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  void scalars(std::int64_t step, const std::vector<std::pair<std::string, double>>& values);
  /// `png`: an encoded picture of the given size.
  void picture(std::int64_t step, const std::string& tag, int width, int height,
               std::string_view png);

 private:
  void event(std::int64_t step, const std::string& summary);
  void record(const std::string& data);
  std::FILE* file_;
};

/// CRC-32C (Castagnoli), as TFRecords use it.
std::uint32_t crc32c(std::string_view data);

}  // namespace kiln
