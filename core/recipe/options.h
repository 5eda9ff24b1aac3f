#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace kiln {

/// How options are declared: a struct whose members hold the defaults, with one member template
/// `describe` that names each key once. Reading a recipe, printing it resolved, `--help` texts, the
/// recipe hash and the check of a resume all follow from that one list.
///
///   struct ScheduleOptions {
///     std::string name = "cosine";
///     double warmup = 0;
///     template <typename Visitor> void describe(Visitor& visit) {
///       visit("name", name, "constant | linear | cosine | bert", kIdentity);
///       visit("warmup", warmup, "samples, or epochs with a unit: see docs", kIdentity);
///     }
///   };
///
/// Types: bool, int64_t, double, std::string, std::vector of the last three, std::optional of any,
/// and std::vector of a struct of options: a list of tables, written [[section.key]].

/// Whether a key determines the result of a run (part of the recipe hash, refused to change at a
/// resume) or only how it is carried out.
enum class KeyKind { kIdentity, kExecution };
inline constexpr KeyKind kIdentity = KeyKind::kIdentity;
inline constexpr KeyKind kExecution = KeyKind::kExecution;

/// A struct of options: what is not a value itself.
template <typename T>
concept OptionStruct = std::is_class_v<T> && !std::is_same_v<T, std::string>;

}  // namespace kiln
