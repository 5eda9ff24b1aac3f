#include "data/store/folder_walk.h"

#include <algorithm>

#include "core/base/error.h"

namespace kiln {
namespace {

namespace fs = std::filesystem;

bool is_hidden(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') || name == "__MACOSX";
}

class Walk {
 public:
  explicit Walk(FolderContents& contents) : contents_(contents) {}

  void visit(const fs::path& folder, bool is_root) {
    std::error_code code;
    const fs::path real = fs::canonical(folder, code);
    if (code) throw data_error("cannot read the folder '{}': {}", folder.string(), code.message());
    if (std::ranges::find(above_, real) != above_.end()) {
      contents_.broken.push_back({folder, "a link to a folder that it lies in"});
      return;
    }
    above_.push_back(real);
    fs::directory_iterator entry(folder, code);
    for (; !code && entry != fs::directory_iterator(); entry.increment(code)) {
      add(entry->path(), is_root);
    }
    if (code) throw data_error("cannot read the folder '{}': {}", folder.string(), code.message());
    above_.pop_back();
  }

 private:
  void add(const fs::path& path, bool is_in_root) {
    if (is_hidden(path)) {
      contents_.left_out.push_back({path, "hidden"});
      return;
    }
    std::error_code code;
    const fs::file_status status = fs::status(path, code);
    if (status.type() == fs::file_type::not_found || code) {
      contents_.broken.push_back({path, code && status.type() != fs::file_type::not_found
                                            ? code.message()
                                            : "a link that leads nowhere"});
    } else if (fs::is_directory(status)) {
      if (is_in_root) contents_.folders.push_back(path.filename().string());
      visit(path, false);
    } else if (fs::is_regular_file(status)) {
      const auto bytes = fs::file_size(path, code);
      if (code) throw data_error("cannot read '{}': {}", path.string(), code.message());
      contents_.files.push_back({path, static_cast<std::int64_t>(bytes)});
    } else {
      contents_.left_out.push_back({path, "a pipe, socket or device"});
    }
  }

  FolderContents& contents_;
  std::vector<fs::path> above_;
};

}  // namespace

FolderContents walk_folder(const fs::path& root) {
  FolderContents contents;
  Walk(contents).visit(root, true);
  std::ranges::sort(contents.files, {}, &FolderContents::File::path);
  std::ranges::sort(contents.folders);
  std::ranges::sort(contents.left_out, {}, &FolderContents::Other::path);
  std::ranges::sort(contents.broken, {}, &FolderContents::Other::path);
  return contents;
}

}  // namespace kiln
