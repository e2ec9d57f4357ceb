#include "credentials.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include <gateway/core/base64.h>

#include <policy/json_text.h>

#include "ascii.h"

namespace palisade::gateway::llm {
namespace {

bool upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool alnum(char c) {
  return digit(c) || upper(c) || (c >= 'a' && c <= 'z');
}

enum class Alphabet : std::uint8_t { kAlnum, kWord, kUpper, kDotted, kBase64 };
bool is_of(Alphabet alphabet, char c) {
  switch (alphabet) {
    case Alphabet::kAlnum:
      return alnum(c);
    case Alphabet::kWord:
      return alnum(c) || c == '_' || c == '-';
    case Alphabet::kUpper:
      return digit(c) || upper(c);
    case Alphabet::kDotted:
      return alnum(c) || c == '_' || c == '-' || c == '.';
    case Alphabet::kBase64:
      return alnum(c) || std::string_view("+/=_-.~").find(c) != std::string_view::npos;
  }
  return false;
}

struct Shape {
  std::string_view prefix;  // longer ones before those that begin them
  Alphabet alphabet;
  std::size_t least;  // characters behind the prefix
  std::string_view kind;
};
constexpr std::string_view kGitHub = "a GitHub token";
constexpr std::string_view kGitLab = "a GitLab token";
constexpr std::string_view kSlack = "a Slack token";
constexpr std::string_view kAws = "an AWS key";
constexpr std::string_view kGoogle = "a Google key";
constexpr std::string_view kModelKey = "an LLM API key";
constexpr std::array<Shape, 33> kShapes{{
    {"github_pat_", Alphabet::kWord, 20, kGitHub}, {"ghp_", Alphabet::kAlnum, 20, kGitHub},
    {"gho_", Alphabet::kAlnum, 20, kGitHub},       {"ghu_", Alphabet::kAlnum, 20, kGitHub},
    {"ghs_", Alphabet::kDotted, 20, kGitHub},      {"ghr_", Alphabet::kAlnum, 20, kGitHub},
    {"glpat-", Alphabet::kDotted, 16, kGitLab},    {"gldt-", Alphabet::kWord, 16, kGitLab},
    {"glrt-", Alphabet::kDotted, 16, kGitLab},     {"glcbt-", Alphabet::kWord, 16, kGitLab},
    {"glptt-", Alphabet::kWord, 16, kGitLab},      {"glft-", Alphabet::kWord, 16, kGitLab},
    {"glsoat-", Alphabet::kWord, 16, kGitLab},     {"glagent-", Alphabet::kWord, 16, kGitLab},
    {"gloas-", Alphabet::kWord, 16, kGitLab},      {"AKIA", Alphabet::kUpper, 16, kAws},
    {"ASIA", Alphabet::kUpper, 16, kAws},          {"sk-ant-", Alphabet::kWord, 16, kModelKey},
    {"sk-proj-", Alphabet::kWord, 16, kModelKey},  {"sk-svcacct-", Alphabet::kWord, 16, kModelKey},
    {"sk-admin-", Alphabet::kWord, 16, kModelKey}, {"sk-or-", Alphabet::kWord, 16, kModelKey},
    {"sk-", Alphabet::kAlnum, 20, kModelKey},      {"gsk_", Alphabet::kAlnum, 20, kModelKey},
    {"xoxb-", Alphabet::kWord, 10, kSlack},        {"xoxp-", Alphabet::kWord, 10, kSlack},
    {"xoxa-", Alphabet::kWord, 10, kSlack},        {"xoxr-", Alphabet::kWord, 10, kSlack},
    {"xoxs-", Alphabet::kWord, 10, kSlack},        {"xoxe.", Alphabet::kDotted, 10, kSlack},
    {"xapp-", Alphabet::kWord, 10, kSlack},        {"AIza", Alphabet::kWord, 30, kGoogle},
    {"ya29.", Alphabet::kWord, 20, kGoogle},
}};

constexpr std::array<bool, 256> first_characters() {
  std::array<bool, 256> out{};
  for (const Shape& shape : kShapes)
    out.at(static_cast<unsigned char>(shape.prefix[0])) = true;
  for (const char c : {'e', 'b', 'B', '-', 'a', 'A'})
    out.at(static_cast<unsigned char>(c)) = true;
  return out;
}
constexpr auto kFirst = first_characters();

class Finder {
 public:
  Finder(std::string_view text, const Secrets& secrets) : text_(text) {
    for (const Secrets::Secret& secret : secrets.all()) {
      for (std::size_t at = text.find(secret.text); at != std::string_view::npos;
           at = text.find(secret.text, at + secret.text.size()))
        known_.push_back({{at, at + secret.text.size()}, secret.kind});
    }
    std::ranges::sort(known_, {}, [](const Credential& known) { return known.span.begin; });
  }

  std::vector<Credential> run() {
    while (at_ < text_.size()) {
      if (next_known()) continue;
      if (!kFirst.at(static_cast<unsigned char>(text_[at_])) ||
          !(token() || web_token() || bearer() || key_block() || aws_secret()))
        ++at_;
    }
    return std::move(out_);
  }

 private:
  // Nothing of a word stands before it. What JSON or a program's source escapes, as \n, is none.
  [[nodiscard]] bool begins() const {
    if (at_ == ended_ || (!alnum(text_[at_ - 1]) && text_[at_ - 1] != '_')) return true;
    if (at_ >= 2 && text_[at_ - 2] == '\\' &&
        std::string_view("nrtbfv").find(text_[at_ - 1]) != std::string_view::npos)
      return true;
    return (at_ >= 6 && text_.substr(at_ - 6, 2) == "\\u") ||
           (at_ >= 4 && text_.substr(at_ - 4, 2) == "\\x") ||
           (at_ >= 3 && text_[at_ - 3] == '%');  // %3Dghp_...
  }
  [[nodiscard]] bool here(std::string_view what) const {
    return text_.substr(at_).starts_with(what);
  }
  bool found(std::size_t from, std::size_t end, std::string_view kind) {
    // A secret that is known is hidden as a whole, before it or within.
    for (; known_at_ < known_.size() && known_[known_at_].span.begin < end; ++known_at_) {
      const Credential& known = known_[known_at_];
      if (known.span.end <= from) {
        out_.push_back(known);
      } else {
        from = std::min(from, known.span.begin);
        end = std::max(end, known.span.end);
      }
    }
    out_.push_back({{from, end}, kind});
    at_ = ended_ = end;
    return true;
  }

  bool next_known() {
    if (known_at_ >= known_.size() || known_[known_at_].span.begin > at_) return false;
    const Credential known = known_[known_at_];
    return found(known.span.begin, known.span.end, known.kind);
  }

  bool token() {
    if (!begins()) return false;
    for (const Shape& shape : kShapes) {
      if (text_[at_] != shape.prefix[0] || !here(shape.prefix)) continue;
      std::size_t end = at_ + shape.prefix.size();
      bool digits = false;
      while (end < text_.size() && is_of(shape.alphabet, text_[end])) {
        digits |= digit(text_[end]);
        ++end;
      }
      const std::size_t rest = end - at_ - shape.prefix.size();
      // A word that happens to begin so has no digit.
      if (rest < shape.least || (!digits && rest < 3 * shape.least)) continue;
      return found(at_, end, shape.kind);
    }
    return false;
  }

  // A JSON Web Token: base64url of {"..., a dot, more of it.
  bool web_token() {
    constexpr std::size_t kLeast = 8;
    if (at_ < looked_until_ || !here("eyJ") || !begins()) return false;
    std::size_t end = at_;
    std::size_t dots = 0;
    std::size_t part = 0;
    std::size_t first = 0;
    for (; end < text_.size() &&
           (is_of(Alphabet::kWord, text_[end]) || (text_[end] == '.' && dots < 4));
         ++end) {
      ++part;
      if (text_[end] != '.') continue;
      if (++dots == 1) first = part;
      part = 0;
    }
    looked_until_ = end;  // one look at a run is enough
    const bool second = dots > 1 || part >= kLeast;
    if (dots == 0 || first < kLeast || !second || end - at_ < 4 * kLeast) return false;
    return found(at_, end, "a JSON Web Token");
  }

  bool bearer() {
    constexpr std::string_view kWord = "bearer ";
    constexpr std::size_t kLeast = 16;
    if (lower(text_[at_]) != 'b' || at_ + kWord.size() > text_.size() || !begins()) return false;
    for (std::size_t i = 0; i < kWord.size(); ++i) {
      if (lower(text_[at_ + i]) != kWord[i]) return false;
    }
    const std::size_t from = at_ + kWord.size();
    std::size_t end = from;
    bool digits = false;
    while (end < text_.size() && is_of(Alphabet::kBase64, text_[end])) {
      digits |= digit(text_[end]);
      ++end;
    }
    if (end - from < kLeast || !digits) return false;
    return found(from, end, "a bearer token");
  }

  bool key_block() {
    constexpr std::string_view kBegin = "-----BEGIN ";
    constexpr std::string_view kLabel = "PRIVATE KEY";
    constexpr std::size_t kLongestLabel = 64;
    constexpr std::size_t kLeast = 32;
    if (!here(kBegin)) return false;
    const std::string_view head = text_.substr(at_ + kBegin.size(), kLongestLabel);
    const std::size_t label = head.find(kLabel);
    const std::size_t dashes = head.find("-----");
    if (label == std::string_view::npos || dashes == std::string_view::npos || dashes < label ||
        !std::ranges::all_of(head.substr(0, dashes),
                             [](char c) { return upper(c) || digit(c) || c == ' '; }))
      return false;
    const std::size_t from = at_ + kBegin.size() + dashes + 5;
    // A program that speaks of such blocks has no key behind the words. Looked at before the end is
    // searched for, which may be far away.
    const std::string_view key = text_.substr(from, 4 * kLeast);
    if (std::ranges::count_if(key.substr(0, key.find("-----")), [](char c) {
          return is_of(Alphabet::kBase64, c);
        }) < static_cast<std::ptrdiff_t>(kLeast))
      return false;
    const std::size_t end = std::min(text_.find("-----END ", from), text_.size());
    return found(from, end, "a private key");
  }

  // aws_secret_access_key = 40 characters
  bool aws_secret() {
    constexpr std::string_view kName = "aws_secret_access_key";
    constexpr std::size_t kSize = 40;
    if (lower(text_[at_]) != 'a' || at_ + kName.size() > text_.size()) return false;
    for (std::size_t i = 0; i < kName.size(); ++i) {
      if (lower(text_[at_ + i]) != kName[i]) return false;
    }
    std::size_t from = at_ + kName.size();
    const std::size_t limit = std::min(text_.size(), from + 8);
    while (from < limit &&
           std::string_view(" \t\"'\\:=").find(text_[from]) != std::string_view::npos)
      ++from;
    std::size_t end = from;
    while (end < text_.size() && (alnum(text_[end]) || text_[end] == '/' || text_[end] == '+'))
      ++end;
    if (end - from != kSize) return false;
    return found(from, end, kAws);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t ended_ = 0;  // of what was found last
  std::size_t looked_until_ = 0;
  std::vector<Credential> known_;
  std::size_t known_at_ = 0;
  std::vector<Credential> out_;
};

void append_masked(std::string& out, std::size_t bytes) {
  out += "[masked " + std::to_string(bytes) + " bytes]";
}

}  // namespace

void Secrets::add(std::string_view token, std::string_view username, std::string_view kind) {
  constexpr std::size_t kLeast = 8;
  if (token.size() < kLeast) return;
  secrets_.push_back({std::string(token), kind});
  std::string basic = encode_base64(std::string(username) + ":" + std::string(token));
  while (basic.ends_with('='))
    basic.pop_back();
  secrets_.push_back({std::move(basic), kind});
}

std::vector<Credential> find_credentials(std::string_view text, const Secrets& secrets) {
  return Finder(text, secrets).run();
}

std::string masked(std::string_view text, const Secrets& secrets) {
  std::string out;
  std::size_t at = 0;
  for (const Credential& found : find_credentials(text, secrets)) {
    out += text.substr(at, found.span.begin - at);
    append_masked(out, found.span.end - found.span.begin);
    at = found.span.end;
  }
  out += text.substr(at);
  return out;
}

Outgoing check_outgoing(std::string_view json, const Secrets& secrets) {
  constexpr std::size_t kLeast = 8;  // no shorter text holds one
  Outgoing out;
  std::size_t at = 0;
  while (const auto string = next_string(json, at)) {
    at = string->end;
    if (string->end - string->begin < kLeast + 2) continue;
    std::string_view text = json.substr(string->begin + 1, string->end - string->begin - 2);
    std::string plain;
    if (text.find('\\') != std::string_view::npos) {
      plain = decoded(string->of(json));
      text = plain;
    }
    const auto found = find_credentials(text, secrets);
    if (found.empty()) continue;
    if (out.leak.count == 0) {
      out.leak.where = path_at(json, string->begin);
      out.leak.kind = found.front().kind;
    }
    out.leak.count += found.size();
    if (is_name(json, *string)) {
      out.in_name = true;
      continue;
    }
    std::string replaced;
    policy::append_json(replaced, masked(text, secrets));
    out.edits.push_back({*string, std::move(replaced)});
  }
  return out;
}

}  // namespace palisade::gateway::llm
