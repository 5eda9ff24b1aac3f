#include "core/on_all_ranks.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/torch.h"

namespace kiln {
namespace {

struct Failure {
  std::int64_t code = 0;  // exit status; 0: none
  std::string message;
};

Failure describe(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return {static_cast<std::int64_t>(e.code()), e.what()};
  } catch (const std::exception& e) {
    return {static_cast<std::int64_t>(ExitCode::kInternal), e.what()};
  }
}

std::vector<std::int64_t> gather_numbers(Communicator& communicator, std::int64_t number) {
  const at::Tensor own = at::full({1}, number, at::kLong);
  const at::Tensor all = at::empty({communicator.size()}, at::kLong);
  communicator.all_gather(own, all).wait();
  const auto* numbers = all.data_ptr<std::int64_t>();
  return {numbers, numbers + communicator.size()};
}

// "2 to 5, 7"
std::string list_ranks(const std::vector<std::int64_t>& ranks) {
  std::vector<std::string> runs;
  for (std::size_t begin = 0; begin < ranks.size();) {
    std::size_t end = begin + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    runs.push_back(end - begin == 1 ? fmt::format("{}", ranks[begin])
                                    : fmt::format("{} to {}", ranks[begin], ranks[end - 1]));
    begin = end;
  }
  return fmt::format("{}", fmt::join(runs, ", "));
}

}  // namespace

std::vector<std::string> gather_texts(Communicator& communicator, const std::string& text) {
  const auto lengths = gather_numbers(communicator, static_cast<std::int64_t>(text.size()));
  const std::int64_t longest = std::max<std::int64_t>(1, *std::ranges::max_element(lengths));
  const at::Tensor own = at::zeros({longest}, at::kByte);
  const at::Tensor all = at::zeros({longest * communicator.size()}, at::kByte);
  std::memcpy(own.data_ptr(), text.data(), text.size());
  communicator.all_gather(own, all).wait();
  std::vector<std::string> texts;
  const char* characters = static_cast<const char*>(all.data_ptr());
  for (const std::int64_t length : lengths) {
    texts.emplace_back(characters, length);
    characters += longest;
  }
  return texts;
}

void throw_on_all_ranks(Communicator& communicator, std::exception_ptr error) {
  const Failure own = describe(error);
  const auto codes = gather_numbers(communicator, own.code);
  const auto first = std::ranges::find_if(codes, [](std::int64_t code) { return code != 0; });
  if (first == codes.end()) return;
  const bool is_common = std::ranges::all_of(codes, [](std::int64_t code) { return code != 0; });
  const auto rank = first - codes.begin();
  const std::string message = gather_texts(communicator, own.message)[rank];
  throw Error(static_cast<ExitCode>(*first),
              is_common ? message : fmt::format("rank {}: {}", rank, message));
}

void run_on_all_ranks(Communicator& communicator, const std::function<void()>& body) {
  std::exception_ptr error;
  try {
    body();
  } catch (...) {
    error = std::current_exception();
  }
  throw_on_all_ranks(communicator, error);
}

void check_equal_on_all_ranks(Communicator& communicator, const std::string& name,
                              const std::string& value) {
  const auto hashes = gather_texts(communicator, hash_bytes(value.data(), value.size()).hex());
  std::vector<std::int64_t> different;
  for (std::size_t rank = 0; rank < hashes.size(); ++rank) {
    if (hashes[rank] != hashes[0]) different.push_back(static_cast<std::int64_t>(rank));
  }
  if (different.empty()) return;
  throw usage_error(
      "the {} of rank {} differs from that of rank 0. Every rank must be given the same one: check "
      "that all hosts see the same files and that none was changed while the job started.",
      name, list_ranks(different));
}

}  // namespace kiln
