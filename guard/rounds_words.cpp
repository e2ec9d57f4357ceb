// What passes between the rounds, the agent and guard: all of it is text.
#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include <nlohmann/json.hpp>

#include "guard/rounds.h"
#include "guard/run.h"
#include "unicode.h"

namespace palisade::guard {
namespace {

constexpr std::size_t kHead = 4UL << 10;
constexpr std::size_t kOutputTail = 12UL << 10;
constexpr std::size_t kMostWords = 64;
constexpr std::size_t kFailureMost = 4096;
constexpr int kMostRounds = 1000;

// What a terminal would not show: ESC [ ... LETTER, ESC ] ... BEL, ESC and one more.
std::size_t escape_length(std::string_view text, std::size_t at) {
  std::size_t end = at + 1;
  if (end >= text.size()) return 1;
  const char kind = text[end++];
  if (kind == '[') {
    while (end < text.size() && (text[end] < 0x40 || text[end] > 0x7e))
      ++end;
    return std::min(end + 1, text.size()) - at;
  }
  if (kind == ']') {
    while (end < text.size() && text[end] != '\a' && text[end] != '\x1b')
      ++end;
    return std::min(end + 1, text.size()) - at;
  }
  return 2;
}

}  // namespace

std::string plain_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '\x1b') {
      at += escape_length(text, at);
      continue;
    }
    const unicode::Point point = unicode::decode(text, at);
    at += point.length;
    if (point.code == '\n' || point.code == '\t') {
      out += static_cast<char>(point.code);
    } else if (point.code == '\r') {
      continue;
    } else if (point.code != unicode::kInvalid &&
               unicode::kind_of(point.code) == unicode::Kind::kShown) {
      unicode::append(out, point.code);
    } else {
      out += '?';
    }
  }
  return out;
}

namespace {

std::optional<std::int64_t> number(std::string_view text, std::int64_t most) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0 || value > most)
    return std::nullopt;
  return value;
}

}  // namespace

void Output::add(std::string_view bytes) {
  const std::size_t first = std::min(bytes.size(), kHead - head_.size());
  head_ += bytes.substr(0, first);
  tail_ += bytes.substr(first);
  if (tail_.size() > 2 * kOutputTail) {
    left_out_ += tail_.size() - kOutputTail;
    tail_.erase(0, tail_.size() - kOutputTail);
  }
}

std::string Output::text() const {
  std::uint64_t left_out = left_out_;
  std::string_view tail = tail_;
  if (tail.size() > kOutputTail) {
    left_out += tail.size() - kOutputTail;
    tail.remove_prefix(tail.size() - kOutputTail);
  }
  if (left_out == 0) return plain_text(head_ + std::string(tail));
  return plain_text(head_) + "\n[... " + std::to_string(left_out) + " bytes are left out ...]\n" +
         plain_text(tail);
}

std::vector<std::string> feedback_arguments(const Feedback& feedback, int code) {
  return {"feedback", std::to_string(code), std::to_string(feedback.rounds), feedback.stopped,
          feedback.last_failure.substr(0, kFailureMost)};
}

std::optional<Feedback> read_feedback(const std::vector<std::string>& argv) {
  if (argv.size() != 6 || argv[1] != "feedback") return std::nullopt;
  const auto code = number(argv[2], 255);
  const auto count = number(argv[3], kMostRounds);
  if (!code || !count || std::ranges::find(kStopWords, argv[4]) == std::end(kStopWords) ||
      argv[5].size() > kFailureMost) {
    return std::nullopt;
  }
  return Feedback{*count, argv[4], argv[5]};
}

int feedback_code(const std::vector<std::string>& argv) {
  const auto code = argv.size() == 6 ? number(argv[2], 255) : std::nullopt;
  return code ? static_cast<int>(*code) : kExitInternal;
}

std::expected<std::vector<std::string>, std::string> read_words(const std::string& json) {
  const auto value = nlohmann::json::parse(json, nullptr, false);
  if (!value.is_array() || value.empty() || value.size() > kMostWords)
    return std::unexpected("is no JSON list of 1 to " + std::to_string(kMostWords) + " words");
  std::vector<std::string> words;
  for (const auto& word : value) {
    if (!word.is_string()) return std::unexpected("has an item that is no text");
    words.push_back(word.get<std::string>());
    if (words.back().empty() || words.back().find('\0') != std::string::npos)
      return std::unexpected("has an empty word, or one with a NUL");
  }
  return words;
}

}  // namespace palisade::guard
