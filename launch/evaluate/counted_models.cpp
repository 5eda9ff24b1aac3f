#include "launch/evaluate/counted_models.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/torch.h"
#include "data/text/token_stream.h"
#include "launch/run/world.h"
#include "models/capabilities.h"

namespace kiln {
namespace {

using Sentence = CountedModel::Sentence;
/// Hands the sentences of a dataset to `use`: of each document the part that is this rank's.
template <typename Use>
void for_each_sentence(const TokenStream& stream, std::int64_t rank, std::int64_t ranks,
                       const Use& use) {
  for (std::int64_t number = 0; number < stream.num_shards(); ++number) {
    const auto shard = stream.dataset().shard(number);
    const auto documents = stream.documents(number);
    for (std::int64_t document = 0; document + 1 < std::ssize(documents); ++document) {
      const Range row = shard->row_range("sentences", document);
      std::vector<std::uint32_t> ends(static_cast<std::size_t>(row.size()));
      shard->read_values("sentences", row, ends.data());
      const auto start = static_cast<std::int64_t>(documents[static_cast<std::size_t>(document)]);
      const Range mine = share_of(row.size(), rank, ranks);
      for (std::int64_t i = mine.begin; i < mine.end; ++i) {
        const std::int64_t begin = i == 0 ? 1 : ends[static_cast<std::size_t>(i - 1)];
        const std::int64_t end = ends[static_cast<std::size_t>(i)];
        std::vector<std::int64_t> tokens(static_cast<std::size_t>(end - begin));
        stream.read(number, {start + begin, start + end}, tokens.data());
        use(Sentence(tokens.begin(), tokens.end()));
      }
    }
  }
}

/// Everybody's values one after the other, on every rank.
std::vector<std::int64_t> gather(const std::vector<std::int64_t>& mine,
                                 Communicator& communicator) {
  const std::int64_t ranks = communicator.size();
  const at::Tensor sizes = at::empty({ranks}, at::kLong);
  communicator.all_gather(at::tensor({std::ssize(mine)}, at::kLong), sizes).wait();
  const std::int64_t most = std::max<std::int64_t>(sizes.max().item<std::int64_t>(), 1);
  const at::Tensor padded = at::zeros({most}, at::kLong);
  std::copy(mine.begin(), mine.end(), padded.data_ptr<std::int64_t>());
  const at::Tensor all = at::empty({ranks * most}, at::kLong);
  communicator.all_gather(padded, all).wait();
  std::vector<std::int64_t> joined;
  for (std::int64_t rank = 0; rank < ranks; ++rank) {
    const auto* begin = all.const_data_ptr<std::int64_t>() + rank * most;
    joined.insert(joined.end(), begin, begin + sizes[rank].item<std::int64_t>());
  }
  return joined;
}

void count_together(CountedModel& model, const TokenStream& stream, Communicator& communicator) {
  for_each_sentence(stream, communicator.rank(), communicator.size(),
                    [&](const Sentence& sentence) { model.count(sentence); });
  if (communicator.size() == 1) return;
  // Slice by slice, so that what travels at a time stays small.
  constexpr std::int64_t kSlices = 16;
  for (std::int64_t slice = 0; slice < kSlices; ++slice) {
    model.add_counts(gather(model.counts(slice, kSlices), communicator));
  }
}

CommandResult evaluate_in(World& world, const CountedModelEntry& entry, const TokenStream& train,
                          const TokenStream& test) {
  nlohmann::json result = {{"evaluation", entry.name}};
  const std::unique_ptr<CountedModel> model = entry.make();
  for (int round = 0; round < model->num_rounds(); ++round) {
    model->begin_round(round, test.tokenizer().vocabulary().size());
    count_together(*model, train, world.communicator());
    if (world.rank() != 0) continue;
    model->score([&](const auto& use) { for_each_sentence(test, 0, 1, use); }, result);
  }
  if (world.rank() != 0) return {};
  for (const auto& [name, value] : result.items()) fmt::print("{:28} {}\n", name, value.dump());
  return {ExitCode::kDone, result};
}

}  // namespace

CommandResult evaluate_counted(const CountedModelEntry& model, const TrainedModelArgs& args) {
  const std::filesystem::path path = args.path;
  const bool is_run = std::filesystem::exists(path / "recipe.toml");
  RecipeReader reader = is_run ? RecipeReader::from_file(path / "recipe.toml", args.overrides)
                               : RecipeReader::from_text("", "command line", args.overrides);
  EvalOptions options;
  reader.read("eval", options);
  if (options.path.empty()) throw usage_error("eval.path is missing: the text to evaluate on");
  const std::string counted = is_run ? reader.peek("data", "path", "") : args.path;
  const TokenStream train(std::make_shared<const Dataset>(counted));
  const TokenStream test(std::make_shared<const Dataset>(options.path));
  if (train.tokenizer().hash() != test.tokenizer().hash()) {
    throw data_error(
        "'{}' and '{}' were made with different tokenizers; import both with the same "
        "vocabulary",
        counted, options.path);
  }
  return run_in_world(600, [&](World& world) { return evaluate_in(world, model, train, test); });
}

}  // namespace kiln
