#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "core/communicator.h"

// An error of one rank must end all ranks with the same exit status, and no rank may keep waiting
// in a collective. These are collective calls: every rank makes them, in the same order.

namespace kiln {

/// Runs `body`; where it threw on any rank, throws on all: what the first such rank threw, as an
/// Error with its exit code. `body` must not communicate.
void run_on_all_ranks(Communicator& communicator, const std::function<void()>& body);

/// The same for an error that was caught already; null: there is none on this rank.
void throw_on_all_ranks(Communicator& communicator, std::exception_ptr error);

/// Throws Error(kUsage) on all ranks, listing those whose `value` differs from rank 0's. `name`
/// says what it is, e.g. "recipe" or "program".
void check_equal_on_all_ranks(Communicator& communicator, const std::string& name,
                              const std::string& value);

/// `text` of every rank, on all ranks.
std::vector<std::string> gather_texts(Communicator& communicator, const std::string& text);

}  // namespace kiln
