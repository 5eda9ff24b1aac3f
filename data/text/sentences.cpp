#include "data/text/sentences.h"

#include <algorithm>
#include <array>

namespace kiln {
namespace {

using namespace std::string_view_literals;

constexpr std::array kAbbreviations = {
    "Mr"sv,  "Mrs"sv,  "Ms"sv,  "Dr"sv,  "St"sv,   "Prof"sv,   "Sr"sv,  "Jr"sv,  "Rev"sv, "Gen"sv,
    "Col"sv, "Capt"sv, "Lt"sv,  "Sgt"sv, "vs"sv,   "etc"sv,    "No"sv,  "Vol"sv, "vol"sv, "pp"sv,
    "cf"sv,  "e.g"sv,  "i.e"sv, "Mme"sv, "Mlle"sv, "Messrs"sv, "Hon"sv, "Inc"sv, "Ltd"sv, "Co"sv};
constexpr std::array kClosers = {"\""sv, "'"sv, ")"sv, "]"sv, "\u201d"sv, "\u2019"sv, "\u00bb"sv};
constexpr std::array kFullWidthEnds = {"\u3002"sv, "\uff01"sv, "\uff1f"sv};
constexpr std::string_view kEllipsis = "\u2026";

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool is_abbreviation(std::string_view before_stop) {
  const std::size_t blank = before_stop.find_last_of(" \t\n\r(\"");
  const std::string_view word =
      blank == before_stop.npos ? before_stop : before_stop.substr(blank + 1);
  if (word.size() == 1) return word[0] >= 'A' && word[0] <= 'Z';
  return std::find(kAbbreviations.begin(), kAbbreviations.end(), word) != kAbbreviations.end();
}

template <std::size_t N>
std::size_t match_any(std::string_view text, const std::array<std::string_view, N>& words) {
  for (const std::string_view word : words) {
    if (text.starts_with(word)) return word.size();
  }
  return 0;
}

/// Bytes of a mark that may end a sentence, at the start of `text`; 0 if there is none.
std::size_t end_mark(std::string_view text) {
  if (text[0] == '.' || text[0] == '!' || text[0] == '?') return 1;
  return text.starts_with(kEllipsis) ? kEllipsis.size() : 0;
}

}  // namespace

std::size_t sentence_length(std::string_view text) {
  const auto skip_blanks = [&](std::size_t at) {
    while (at < text.size() && is_blank(text[at])) ++at;
    return at;
  };
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t size = match_any(text.substr(at), kFullWidthEnds)) {
      return skip_blanks(at + size);
    }
    std::size_t mark = end_mark(text.substr(at));
    if (mark == 0) {
      ++at;
      continue;
    }
    const bool is_stop = text[at] == '.';
    const std::string_view before = text.substr(0, at);
    at += mark;
    while (at < text.size() && (mark = end_mark(text.substr(at))) != 0) at += mark;
    std::size_t closers = 0;
    while (at < text.size()) {
      const std::size_t size = match_any(text.substr(at), kClosers);
      if (size == 0) break;
      at += size;
      ++closers;
    }
    if (at < text.size() && !is_blank(text[at])) continue;
    const std::size_t next = skip_blanks(at);
    if (next == text.size()) return next;
    const bool goes_on = (text[next] >= 'a' && text[next] <= 'z') || text[next] == '-';
    if (goes_on || (is_stop && closers == 0 && is_abbreviation(before))) continue;
    return next;
  }
  return text.size();
}

}  // namespace kiln
