#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <thread>

#include "core/base/launcher_rank.h"
#include "core/base/nearest_name.h"
#include "core/report/log.h"
#include "core/report/progress_bar.h"
#include "data/importers/import.h"
#include "data/maintenance/doctor.h"
#include "data/maintenance/verify.h"
#include "data/store/class_map.h"
#include "data/store/dataset.h"
#include "launch/commands/command.h"
#include "launch/commands/import_text.h"
#include "launch/run/world.h"

namespace kiln {

namespace {

constexpr std::int64_t kMostMb = 1 << 20;  // so that bytes fit

nlohmann::ordered_json to_json(const std::vector<std::string>& names,
                               const std::vector<std::int64_t>& counts) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < names.size(); ++i) json[names[i]] = counts[i];
  return json;
}

/// Samples of each class; of many classes the first, and how even they are.
void print_classes(const std::vector<std::string>& names, const std::vector<std::int64_t>& counts) {
  constexpr std::size_t kShown = 20;
  if (names.empty()) return;
  const auto [least, most] = std::ranges::minmax(counts);
  fmt::print("  {}, {} to {} samples each\n", format_count(std::ssize(names), "class"), least,
             most);
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) {
    fmt::print("  {:8} {}{}\n", counts[i], names[i], counts[i] == 0 ? "   (no sample)" : "");
  }
  if (names.size() > kShown) fmt::print("       ... and {} more\n", names.size() - kShown);
}

struct ImportArgs {
  std::string format;
  std::string split = "train";
  std::int64_t shard_mb = 256;
  ImportOptions options;
  std::shared_ptr<TextArgs> text = std::make_shared<TextArgs>();
};

ImportResult import_as(const ImportArgs& args, const ImportOptions& options) {
  if (args.format == "idx") return import_idx(options, args.split);
  if (args.format == "images") return import_images(options);
  if (args.format == "hdf5") return import_hdf5(options);
  if (args.format == "webdataset") return import_webdataset(options);
  throw usage_error("{}", unknown_name("format", args.format,
                                       {"idx", "images", "hdf5", "webdataset", "text", "jsonl"}));
}

/// Ranks share the shards; the first describes what all have made.
CommandResult run_import(const ImportArgs& args, World& world) {
  ImportOptions options = args.options;
  options.rank = world.rank();
  options.num_ranks = world.size();
  options.shard_bytes = args.shard_mb << 20;
  if (options.num_threads == 0) options.num_threads = world.cores();
  if (args.format == "text" || args.format == "jsonl") {
    return import_text_in_world(args.format, *args.text, options, world);
  }
  std::unique_ptr<ProgressBar> bar;
  options.progress = [&](std::int64_t done, std::int64_t total) {
    if (!bar) bar = std::make_unique<ProgressBar>("import", "samples", total);
    bar->update(done);
  };
  import_as(args, options);
  bar.reset();
  world.communicator().barrier();
  if (world.rank() != 0) return {};
  FinishedImport done = finish_import(options);
  for (const BrokenInput& input : done.skipped) {
    log_warning("left out {}: {}", input.file, input.reason);
    done.left_out.add("broken (--skip-broken)", input.file);
  }
  const Manifest& manifest = done.manifest;
  log_info("{}: {} in {}", options.out.string(), format_count(manifest.num_samples, "sample"),
           format_count(std::ssize(manifest.shards), "shard"));
  print_classes(manifest.class_names, done.class_counts);
  print_left_out(done.left_out);
  return {ExitCode::kDone,
          {{"path", options.out.string()},
           {"samples", manifest.num_samples},
           {"shards", manifest.shards.size()},
           {"skipped", done.skipped.size()},
           {"left_out", to_json(done.left_out)},
           {"classes", to_json(manifest.class_names, done.class_counts)},
           {"fingerprint", manifest.fingerprint()}}};
}

void declare_data_import(CLI::App& app, const std::shared_ptr<ImportArgs>& args) {
  app.add_option("format", args->format,
                 "idx (MNIST family, gzipped or not), images (folder tree: class = folder), "
                 "webdataset (tar archives), hdf5 (files of others; or a dataset, to repack it), "
                 "text, or jsonl (a JSON object a line).")
      ->required();
  app.add_option("inputs", args->options.inputs, "Files or folders.")->required();
  app.add_option("--out", args->options.out, "Folder of the dataset to make.")->required();
  app.add_option("--split", args->split, "idx folders: train or test.");
  app.add_option("--threads", args->options.num_threads, "Threads; 0: one per core.")
      ->check(CLI::Range(0, 4096));
  app.add_option("--shard-mb", args->shard_mb, "Size of a shard.")
      ->check(CLI::Range(std::int64_t{1}, kMostMb));
  app.add_flag("--skip-broken", args->options.skip_broken,
               "images: leaves out files that cannot be decoded, and lists them.");
  app.add_option("--min-side", args->options.min_side,
                 "images: those with a shorter side count as broken.")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--max-side", args->options.max_side,
                 "images: scales down so that the longer side has at most so many pixels.")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--max-pixels", args->options.max_pixels,
                 "images: those of more pixels count as broken, and are not decoded.")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--field", args->options.fields, "hdf5: FIELD=/path/in/file, once per field.");
  app.add_option("--layout", args->options.layout,
                 "hdf5: of raw images: auto (default), hwc (channels last), chw (channels first).");
  declare_text_args(app, args->text);
  set_examples(
      app,
      "  kiln data import idx train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz --out d\n"
      "  mpirun -np 8 kiln data import images photos/ --out d     ranks share the work\n"
      "  kiln data import text books/ --vocab vocab.txt --out d");
}

nlohmann::json describe_fields(const Manifest& manifest) {
  nlohmann::json fields = nlohmann::json::object();
  for (const auto& [name, field] : manifest.fields) {
    fields[name] = {{"dtype", std::string(kiln::name(field.dtype))},
                    {"shape", field.shape},
                    {"ragged", field.is_ragged},
                    {"encoding", field.encoding}};
  }
  return fields;
}

CommandResult run_info(const std::string& path) {
  const Dataset dataset(path);
  const Manifest& manifest = dataset.manifest();
  std::int64_t bytes = 0;
  for (const ShardInfo& shard : manifest.shards) bytes += shard.file_bytes;
  std::vector<std::int64_t> class_counts;
  if (!manifest.class_names.empty() && manifest.fields.contains("label")) {
    class_counts = count_classes(dataset);
  }
  nlohmann::ordered_json json = {
      {"path", path},
      {"kind", manifest.kind},
      {"samples", manifest.num_samples},
      {"shards", manifest.shards.size()},
      {"bytes", bytes},
      {"fields", describe_fields(manifest)},
      {"classes", manifest.class_names.size()},
      {"class_counts", class_counts.empty() ? nlohmann::ordered_json()
                                            : to_json(manifest.class_names, class_counts)},
      {"mean", manifest.mean},
      {"std", manifest.std},
      {"attributes", manifest.attributes},
      {"provenance", manifest.provenance},
      {"fingerprint", manifest.fingerprint()}};
  if (launcher_rank().rank == 0) {
    fmt::print("{}: {} of kind '{}', {} in {}\n", path,
               format_count(manifest.num_samples, "sample"), manifest.kind,
               format_bytes(static_cast<double>(bytes)),
               format_count(std::ssize(manifest.shards), "shard"));
    for (const auto& [name, field] : manifest.fields) {
      fmt::print("  {:10} {} [{}]{}{}\n", name, kiln::name(field.dtype),
                 fmt::join(field.shape, ", "), field.is_ragged ? " ragged" : "",
                 field.encoding == "raw" ? "" : " " + field.encoding);
    }
    if (!class_counts.empty()) print_classes(manifest.class_names, class_counts);
    fmt::print("  fingerprint {}\n", manifest.fingerprint());
  }
  if (manifest.kind == "text") {
    json["text"] = describe_text_dataset(path, launcher_rank().rank == 0);
  }
  return {ExitCode::kDone, json};
}

CommandResult run_verify(const std::string& path) {
  std::unique_ptr<ProgressBar> bar;
  const VerifyReport report = verify_dataset(
      path, std::thread::hardware_concurrency(), [&](std::int64_t done, std::int64_t total) {
        if (!bar) bar = std::make_unique<ProgressBar>("verify", "bytes", total);
        bar->update(done);
      });
  bar.reset();
  std::string faults;
  for (const DatasetFault& fault : report.faults) {
    faults += fmt::format("\n  {}{}{}: {}", fault.shard, fault.field.empty() ? "" : ", field ",
                          fault.field, fault.what);
  }
  if (!faults.empty()) {
    throw data_error("{} is damaged; restore these shards from a copy or import again:{}", path,
                     faults);
  }
  if (launcher_rank().rank == 0) {
    fmt::print("{}: {}, {}: every byte is as written\n", path,
               format_count(report.num_shards, "shard"),
               format_bytes(static_cast<double>(report.num_bytes)));
  }
  return {ExitCode::kDone, {{"shards", report.num_shards}, {"bytes", report.num_bytes}}};
}

nlohmann::json to_json(const DoctorReport& report) {
  nlohmann::json fields = nlohmann::json::array();
  for (const FieldCost& field : report.fields) {
    fields.push_back({{"field", field.field},
                      {"layout", field.layout},
                      {"direct", field.is_direct},
                      {"bytes_per_sample", field.bytes_per_sample}});
  }
  return {{"samples", report.num_samples},
          {"shards", report.num_shards},
          {"bytes", report.num_bytes},
          {"file_system", report.file_system},
          {"fields", fields},
          {"read_per_s", report.read_per_s},
          {"cold_read_per_s", report.cold_read_per_s},
          {"decode_per_s", report.decode_per_s},
          {"needs_repack", report.needs_repack},
          {"advice", report.advice}};
}

CommandResult run_doctor(const std::string& path, const std::vector<std::string>& fields,
                         double needed_per_s) {
  const DoctorReport report = examine_dataset(path, parse_field_words(fields));
  nlohmann::json json = to_json(report);
  if (needed_per_s > 0) json["threads_needed"] = threads_needed(report, needed_per_s);
  if (launcher_rank().rank == 0) {
    fmt::print("{}: {} in {} on {}\n", path, format_count(report.num_samples, "sample"),
               format_count(report.num_shards, "shard"), report.file_system);
    for (const FieldCost& field : report.fields) {
      fmt::print(
          "  {:10} {}, {} per sample, {}\n", field.field, field.layout,
          format_bytes(field.bytes_per_sample),
          field.is_direct ? "read directly by many threads" : "read through HDF5's one lock");
    }
    fmt::print("one thread: {:.0f} samples/s from memory, {:.0f} from disk", report.read_per_s,
               report.cold_read_per_s);
    if (report.decode_per_s > 0) fmt::print(", {:.0f} decoded and cropped", report.decode_per_s);
    fmt::print("\n");
    for (const std::string& advice : report.advice) fmt::print("advice: {}\n", advice);
  }
  return {ExitCode::kDone, json};
}

}  // namespace

std::function<CommandResult()> declare_data(CLI::App& app) {
  app.require_subcommand(1);
  auto args = std::make_shared<ImportArgs>();
  args->options.num_threads = 0;
  auto path = std::make_shared<std::string>();
  auto needed_per_s = std::make_shared<double>(0.0);
  CLI::App* import =
      app.add_subcommand("import", "Makes a dataset; ranks and threads share the work.");
  declare_data_import(*import, args);
  CLI::App* info = app.add_subcommand("info", "Describes a dataset.");
  CLI::App* verify = app.add_subcommand("verify", "Re-hashes every shard; 3 when a byte differs.");
  CLI::App* doctor = app.add_subcommand("doctor", "Measures what reading costs, and advises.");
  doctor->add_option("--needed", *needed_per_s, "Samples per second that training wants.");
  doctor->add_option("--field", args->options.fields,
                     "FIELD=/path/in/file, for HDF5 files made by others.");
  for (CLI::App* sub : {info, verify, doctor}) {
    sub->add_option("path", *path, "Dataset folder.")->required();
  }
  return [=] {
    if (info->parsed()) return run_info(*path);
    if (verify->parsed()) return run_verify(*path);
    if (doctor->parsed()) return run_doctor(*path, args->options.fields, *needed_per_s);
    return run_in_world(600, [&](World& world) { return run_import(*args, world); });
  };
}

}  // namespace kiln
