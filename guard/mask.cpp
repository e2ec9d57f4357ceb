#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>

#include <guard/mask.h>

namespace palisade::guard {
namespace {

bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool alnum(char c) {
  return letter(c) || digit(c);
}
bool word(char c) {
  return alnum(c) || c == '_' || c == '-';
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string masked(std::size_t bytes) {
  return "[masked " + std::to_string(bytes) + " bytes]";
}

enum class Alphabet : std::uint8_t { kAlnum, kWord, kUpper, kDotted };
bool is_of(Alphabet alphabet, char c) {
  switch (alphabet) {
    case Alphabet::kAlnum:
      return alnum(c);
    case Alphabet::kWord:
      return word(c);
    case Alphabet::kUpper:
      return digit(c) || (c >= 'A' && c <= 'Z');
    case Alphabet::kDotted:
      return word(c) || c == '.' || c == '=' || c == '+' || c == '/';
  }
  return false;
}

struct Shape {
  std::string_view prefix;  // longer ones before those that begin them
  Alphabet alphabet;
  std::size_t least;  // characters after the prefix
};
constexpr std::array<Shape, 44> kShapes{{
    {"github_pat_", Alphabet::kWord, 20}, {"ghp_", Alphabet::kAlnum, 20},
    {"gho_", Alphabet::kAlnum, 20},       {"ghu_", Alphabet::kAlnum, 20},
    {"ghs_", Alphabet::kDotted, 20},      {"ghr_", Alphabet::kAlnum, 20},
    {"glpat-", Alphabet::kDotted, 16},    {"gldt-", Alphabet::kWord, 16},
    {"glrt-", Alphabet::kDotted, 16},     {"glcbt-", Alphabet::kWord, 16},
    {"glptt-", Alphabet::kWord, 16},      {"glft-", Alphabet::kWord, 16},
    {"glsoat-", Alphabet::kWord, 16},     {"glagent-", Alphabet::kWord, 16},
    {"gloas-", Alphabet::kWord, 16},      {"glimt-", Alphabet::kWord, 16},
    {"AKIA", Alphabet::kUpper, 16},       {"ASIA", Alphabet::kUpper, 16},
    {"sk-ant-", Alphabet::kWord, 16},     {"sk-proj-", Alphabet::kWord, 16},
    {"sk-svcacct-", Alphabet::kWord, 16}, {"sk-admin-", Alphabet::kWord, 16},
    {"sk-or-", Alphabet::kWord, 16},      {"sk-", Alphabet::kAlnum, 20},
    {"sk_live_", Alphabet::kAlnum, 16},   {"sk_test_", Alphabet::kAlnum, 16},
    {"rk_live_", Alphabet::kAlnum, 16},   {"gsk_", Alphabet::kAlnum, 20},
    {"xoxb-", Alphabet::kWord, 10},       {"xoxp-", Alphabet::kWord, 10},
    {"xoxa-", Alphabet::kWord, 10},       {"xoxr-", Alphabet::kWord, 10},
    {"xoxs-", Alphabet::kWord, 10},       {"xapp-", Alphabet::kWord, 10},
    {"AIza", Alphabet::kWord, 30},        {"ya29.", Alphabet::kWord, 20},
    {"npm_", Alphabet::kAlnum, 30},       {"pypi-", Alphabet::kWord, 32},
    {"hf_", Alphabet::kAlnum, 20},        {"dckr_pat_", Alphabet::kWord, 16},
    {"dop_v1_", Alphabet::kAlnum, 32},    {"SG.", Alphabet::kDotted, 40},
    {"ATATT3", Alphabet::kDotted, 40},    {"shpat_", Alphabet::kAlnum, 20},
}};

// Names, in small letters and without - and _, whose value is a secret when a name ends so.
constexpr std::array<std::string_view, 15> kSecretNames{
    "password",   "passwd",      "passphrase", "secret",       "token",
    "apikey",     "accesskey",   "secretkey",  "privatekey",   "accesskeyid",
    "credential", "credentials", "passcode",   "clientsecret", "signingkey"};
constexpr std::array<std::string_view, 8> kSecretHeaders{
    "authorization", "proxyauthorization", "cookie",  "setcookie", "privatetoken",
    "xapikey",       "xauthtoken",         "jobtoken"};
constexpr std::size_t kLongestName = 64;

std::string plain(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c != '-' && c != '_') out += lower(c);
  }
  return out;
}

bool names_a_secret(std::string_view name) {
  const std::string text = plain(name);
  return std::ranges::any_of(kSecretNames,
                             [&](std::string_view end) { return text.ends_with(end); });
}

class Masker {
 public:
  explicit Masker(std::string_view text) : text_(text) {}

  std::string run() {
    out_.reserve(text_.size());
    while (at_ < text_.size()) {
      if (!token() && !web_token() && !bearer() && !key_block() && !user_information() && !named())
        out_ += text_[at_++];
    }
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool begins() const {
    return at_ == 0 || (!alnum(text_[at_ - 1]) && text_[at_ - 1] != '_');
  }
  [[nodiscard]] bool here(std::string_view what) const {
    return text_.substr(at_).starts_with(what);
  }
  void keep(std::size_t bytes) {
    out_ += text_.substr(at_, bytes);
    at_ += bytes;
  }
  void hide(std::size_t bytes) {
    out_ += masked(bytes);
    at_ += bytes;
  }

  // ghp_..., AKIA..., sk-...
  bool token() {
    static constexpr std::string_view kFirst = "gASsrxynphdANT";
    if (kFirst.find(text_[at_]) == std::string_view::npos || !begins()) return false;
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
      out_ += shape.prefix;
      out_ += masked(end - at_);
      at_ = end;
      return true;
    }
    return false;
  }

  // A JSON Web Token: base64url of {"..., a dot, more of it.
  bool web_token() {
    constexpr std::size_t kLeast = 8;
    if (at_ < no_web_token_before_ || !begins() || !here("eyJ")) return false;
    std::size_t end = at_;
    std::size_t dots = 0;
    std::size_t part = 0;
    std::size_t first = 0;
    for (; end < text_.size() && (word(text_[end]) || (text_[end] == '.' && dots < 4)); ++end) {
      ++part;
      if (text_[end] != '.') continue;
      if (++dots == 1) first = part;
      part = 0;
    }
    no_web_token_before_ = end;  // one look at a run is enough
    const bool second = dots > 1 || part >= kLeast;
    if (dots == 0 || first < kLeast || !second || end - at_ < 4 * kLeast) return false;
    out_ += "eyJ";
    out_ += masked(end - at_);
    at_ = end;
    return true;
  }

  bool bearer() {
    constexpr std::size_t kLeast = 16;
    constexpr std::string_view kWordHere = "bearer ";
    if (!begins() || at_ + kWordHere.size() > text_.size()) return false;
    for (std::size_t i = 0; i < kWordHere.size(); ++i) {
      if (lower(text_[at_ + i]) != kWordHere[i]) return false;
    }
    std::size_t end = at_ + kWordHere.size();
    while (end < text_.size() && is_of(Alphabet::kDotted, text_[end]))
      ++end;
    const std::size_t bytes = end - at_ - kWordHere.size();
    if (bytes < kLeast) return false;
    keep(kWordHere.size());
    hide(bytes);
    return true;
  }

  bool key_block() {
    constexpr std::string_view kBegin = "-----BEGIN ";
    constexpr std::string_view kLabel = "PRIVATE KEY";
    constexpr std::size_t kLongestLabel = 64;
    if (!here(kBegin)) return false;
    const std::string_view head = text_.substr(at_ + kBegin.size(), kLongestLabel);
    const std::size_t label = head.find(kLabel);
    const std::size_t dashes = head.find("-----");
    if (label == std::string_view::npos || dashes == std::string_view::npos || dashes < label)
      return false;
    keep(kBegin.size() + dashes + 5);
    const std::size_t found = text_.find("-----END ", at_);
    hide((found == std::string_view::npos ? text_.size() : found) - at_);
    return true;
  }

  // scheme://user:password@host
  bool user_information() {
    if (!here("://")) return false;
    const std::size_t from = at_ + 3;
    std::size_t end = from;
    std::size_t last = std::string_view::npos;
    while (end < text_.size() &&
           std::string_view("/?# \t\r\n\"'<>").find(text_[end]) == std::string_view::npos) {
      if (text_[end] == '@') last = end;
      ++end;
    }
    if (last == std::string_view::npos || last == from) {
      keep(end - at_);  // once is enough
      return true;
    }
    const std::string_view user = text_.substr(from, last - from);
    const bool plain_user =
        user.size() <= 8 && std::ranges::all_of(user, [](char c) { return c >= 'a' && c <= 'z'; });
    keep(3);
    if (plain_user) {
      keep(user.size());
    } else {
      hide(user.size());
    }
    keep(end - at_);
    return true;
  }

  // NAME=value, "name": "value", Header: value
  bool named() {
    const char c = text_[at_];
    if (c != '=' && c != ':') return false;
    std::size_t end = at_;
    bool spaced = false;
    while (end > 0 && text_[end - 1] == ' ' && at_ - end < 2) {
      --end;
      spaced = true;
    }
    if (end > 0 && (text_[end - 1] == '"' || text_[end - 1] == '\'')) --end;
    std::size_t begin = end;
    while (begin > 0 && end - begin < kLongestName && word(text_[begin - 1]))
      --begin;
    const std::string_view name = text_.substr(begin, end - begin);
    if (name.empty()) return false;
    if (c == ':' && std::ranges::find(kSecretHeaders, plain(name)) != kSecretHeaders.end())
      return header_value();
    return names_a_secret(name) && value(c, spaced);
  }

  // All of the line, but the scheme that comes first.
  bool header_value() {
    std::size_t from = at_ + 1;
    while (from < text_.size() && text_[from] == ' ')
      ++from;
    for (const std::string_view scheme : {"Bearer ", "Basic ", "token ", "Digest "}) {
      if (text_.substr(from).starts_with(scheme)) from += scheme.size();
    }
    std::size_t end = from;
    while (end < text_.size() && text_[end] != '\r' && text_[end] != '\n' && text_[end] != '"' &&
           text_[end] != '\'')
      ++end;
    if (end == from) return false;
    keep(from - at_);
    hide(end - from);
    return true;
  }

  bool value(char sign, bool spaced) {
    std::size_t from = at_ + 1;
    const bool gap = from < text_.size() && text_[from] == ' ';
    while (from < text_.size() && text_[from] == ' ' && from - at_ < 4)
      ++from;
    if (from >= text_.size()) return false;
    const auto stands_for_another = [&] {  // $TOKEN, ==, %s
      return from < text_.size() &&
             std::string_view("$=%").find(text_[from]) != std::string_view::npos;
    };
    const char quote = text_[from] == '"' || text_[from] == '\'' ? text_[from] : '\0';
    // token::Kind, a == b, `secret:latest`, `token = next()`.
    if (quote == '\0' && (sign == ':' ? !gap : gap || spaced)) return false;
    if (quote != '\0') ++from;
    if (stands_for_another()) return false;
    std::size_t end = from;
    while (end < text_.size()) {
      const char c = text_[end];
      if (quote != '\0' ? c == quote
                        : std::string_view(" \t\r\n\"'&;,)}]").find(c) != std::string_view::npos)
        break;
      if (quote != '\0' && c == '\\' && end + 1 < text_.size()) ++end;
      ++end;
    }
    end = std::min(end, text_.size());
    const std::string_view found = text_.substr(from, end - from);
    if (found.empty()) return false;
    for (const std::string_view nothing : {"true", "false", "null", "none", "None", "yes", "no"}) {
      if (found == nothing) return false;
    }
    keep(from - at_);
    hide(found.size());
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t no_web_token_before_ = 0;
  std::string out_;
};

}  // namespace

std::string mask(std::string_view text) {
  return Masker(text).run();
}

std::vector<std::string> mask_arguments(const std::vector<std::string>& argv) {
  std::vector<std::string> out;
  out.reserve(argv.size());
  bool secret = false;  // the argument before says so
  bool user = false;
  for (const std::string& argument : argv) {
    const bool option = argument.size() > 1 && argument[0] == '-';
    if (secret && !option && !argument.empty()) {
      out.push_back(masked(argument.size()));
    } else if (const std::size_t colon = argument.find(':');
               user && colon != std::string::npos && colon + 1 < argument.size()) {
      out.push_back(argument.substr(0, colon + 1) + masked(argument.size() - colon - 1));
    } else {
      out.push_back(mask(argument));
    }
    const bool alone = option && argument.find('=') == std::string::npos;
    secret = alone && argument.size() <= kLongestName && names_a_secret(argument);
    user = alone && (argument == "-u" || argument == "--user" || argument == "--proxy-user");
  }
  return out;
}

}  // namespace palisade::guard
