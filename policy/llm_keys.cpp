#include "llm_keys.h"

#include <algorithm>
#include <array>
#include <vector>

#include "cel.h"

namespace palisade::policy {
namespace {

// Vendors' prefixes, with the least length of what follows.
struct Prefix {
  std::string_view text;
  std::size_t rest;
};
constexpr std::array kPrefixes{
    Prefix{"sk-", 16},  Prefix{"sk_", 16},         Prefix{"AIza", 30},   Prefix{"gsk_", 20},
    Prefix{"hf_", 20},  Prefix{"xai-", 20},        Prefix{"r8_", 20},    Prefix{"pplx-", 20},
    Prefix{"csk-", 20}, Prefix{"nvapi-", 20},      Prefix{"AKIA", 16},   Prefix{"ghp_", 30},
    Prefix{"gho_", 30}, Prefix{"github_pat_", 30}, Prefix{"glpat-", 16},
};

constexpr std::array kKeyEndings{
    std::string_view("API_KEY"),           std::string_view("APIKEY"),
    std::string_view("API_TOKEN"),         std::string_view("AUTH_TOKEN"),
    std::string_view("SECRET_KEY"),        std::string_view("SECRET_ACCESS_KEY"),
    std::string_view("AWS_SESSION_TOKEN"), std::string_view("AWS_BEARER_TOKEN_BEDROCK"),
};
// Whose *_TOKEN is a key; elsewhere a token may be a count.
constexpr std::array kTokenVendors{
    std::string_view("OPENAI"),      std::string_view("ANTHROPIC"),
    std::string_view("CLAUDE"),      std::string_view("GEMINI"),
    std::string_view("GOOGLE"),      std::string_view("VERTEX"),
    std::string_view("AZURE"),       std::string_view("MISTRAL"),
    std::string_view("GROQ"),        std::string_view("COHERE"),
    std::string_view("DEEPSEEK"),    std::string_view("OPENROUTER"),
    std::string_view("XAI"),         std::string_view("HF"),
    std::string_view("HUGGINGFACE"), std::string_view("HUGGING_FACE"),
    std::string_view("REPLICATE"),   std::string_view("TOGETHER"),
    std::string_view("TOGETHERAI"),  std::string_view("FIREWORKS"),
    std::string_view("PERPLEXITY"),  std::string_view("OLLAMA"),
    std::string_view("LITELLM"),     std::string_view("COPILOT"),
    std::string_view("GITHUB"),      std::string_view("GITLAB"),
    std::string_view("GITEA"),       std::string_view("GIT"),
    std::string_view("DATABRICKS"),  std::string_view("NVIDIA"),
};
constexpr std::array kPlaceholders{
    std::string_view("none"),
    std::string_view("null"),
    std::string_view("nil"),
    std::string_view("dummy"),
    std::string_view("fake"),
    std::string_view("placeholder"),
    std::string_view("unused"),
    std::string_view("notused"),
    std::string_view("notneeded"),
    std::string_view("notrequired"),
    std::string_view("nokey"),
    std::string_view("nokeyneeded"),
    std::string_view("nokeyrequired"),
    std::string_view("empty"),
    std::string_view("changeme"),
    std::string_view("dummykey"),
    std::string_view("fakekey"),
    std::string_view("x"),
    std::string_view("xx"),
    std::string_view("xxx"),
};
// Aider's flags that take a key, with the shortest prefix that argparse still takes for them.
struct Flag {
  std::string_view name;
  std::size_t least;
};
constexpr std::array kFlags{
    Flag{"OPENAI_API_KEY", 12},  // OPENAI_API_K
    Flag{"ANTHROPIC_API_KEY", 3},
    Flag{"API_KEY", 3},
};

// Letters in upper case, - as _: OPENAI_API_KEY, Openai-Api-Key and openai_api_key are one.
char fold(char c) {
  if (c == '-') return '_';
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

bool equals_folded(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, fold, fold);
}

bool starts_with_folded(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && equals_folded(text.substr(0, prefix.size()), prefix);
}

bool ends_with_folded(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && equals_folded(text.substr(text.size() - end.size()), end);
}

bool key_character(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
         c == '_';
}

bool space_or_quote(char c) {
  constexpr std::string_view kCut = " \t\r\n\"';&|(){}`<>,";
  return kCut.find(c) != std::string_view::npos;
}

// Compares without separators, so that not-needed, not_needed and NotNeeded are one.
bool is_placeholder(std::string_view value) {
  if (value.size() > 32) return false;
  std::array<char, 32> buffer{};
  std::size_t size = 0;
  for (const char c : value) {
    if (key_character(c) && c != '-' && c != '_') {
      buffer.at(size++) = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    } else if (c != '-' && c != '_' && c != '<' && c != '>' && c != ' ') {
      return false;
    }
  }
  std::string_view word(buffer.data(), size);
  if (std::ranges::find(kPlaceholders, word) != kPlaceholders.end() || word.empty()) return true;
  if (!word.starts_with("sk")) return false;
  word.remove_prefix(2);
  return std::ranges::find(kPlaceholders, word) != kPlaceholders.end();
}

std::string_view without_dashes(std::string_view word) {
  while (word.starts_with('-'))
    word.remove_prefix(1);
  return word;
}

// NAME=VALUE and --flag=VALUE, one word.
bool word_gives_key(std::string_view word) {
  const auto equals = word.find('=');
  if (equals == std::string_view::npos || equals == 0) return false;
  const std::string_view name = word.substr(0, equals);
  if (!names_key(without_dashes(name)) && !key_flag(name)) {
    // --set-env=OPENAI_API_KEY=KEY
    return word_gives_key(word.substr(equals + 1));
  }
  return key_value(word.substr(equals + 1));
}

// NAME= before a quote, so that the next word is its value.
bool opens_quoted_key(std::string_view word, std::string_view after) {
  if (!word.ends_with('=') || after.empty() || (after[0] != '"' && after[0] != '\'')) return false;
  word.remove_suffix(1);
  return names_key(without_dashes(word)) || key_flag(word);
}

// Of CEL's regular expressions, all in lower case: what cuts words, and what does not.
constexpr std::string_view kCutClass = "[ \\t\\r\\n\"';&|(){}`<>,]";
constexpr std::string_view kNoCutClass = "[^ \\t\\r\\n\"';&|(){}`<>,]";
constexpr std::string_view kInName = "[^= \\t\\r\\n\"';&|(){}`<>,]";

// A name of the tables as a pattern: openai[-_]api[-_]key.
std::string name_pattern(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '_') {
      out += "[-_]";
    } else {
      out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  return out;
}

// names_key() as a pattern; `any` is what may stand before the endings.
std::string names_key_pattern(std::string_view any) {
  std::string bare;
  std::string parted;
  for (const std::string_view ending : kKeyEndings) {
    std::string& list = ending == "API_KEY" || ending == "APIKEY" ? bare : parted;
    list += (list.empty() ? "" : "|") + name_pattern(ending);
  }
  std::string vendors;
  for (const std::string_view vendor : kTokenVendors)
    vendors += (vendors.empty() ? "" : "|") + name_pattern(vendor);
  const std::string before(any);
  return "(?:" + before + "*(?:" + bare + ")|(?:" + before + "*[-_])?(?:" + parted +
         ")|(?:aider[-_])?(?:" + vendors + ")(?:[-_]" + before + "*)?[-_](?:token|key))";
}

// key_flag() as a pattern: each flag to its shortest, or a name that says so.
std::string key_flag_pattern(std::string_view any) {
  std::string out = "--+(?:" + names_key_pattern(any);
  for (const Flag& flag : kFlags) {
    std::string rest;
    for (std::size_t i = flag.name.size(); i > flag.least; --i)
      rest = "(?:" + name_pattern(flag.name.substr(i - 1, 1)) + rest + ")?";
    out += "|" + name_pattern(flag.name.substr(0, flag.least)) + rest;
  }
  return out + ")";
}

// key_value() of a CEL text in lower case.
std::string cel_key_value(const std::string& value) {
  std::vector<std::string> placeholders{""};
  for (const std::string_view word : kPlaceholders) {
    placeholders.emplace_back(word);
    placeholders.push_back("sk" + std::string(word));
  }
  const std::string no_cut(kNoCutClass);
  return "[" + value + "].map(x, x.find(" + cel::text("(?s)" + no_cut + "(?:.*" + no_cut + ")?") +
         ")).map(x, x.matches('(?s)^[^=]*=.*[^=]') ? x.substring(x.indexOf('=') + 1) : x)"
         ".exists(x, !x.startsWith('$') && !(size(x) <= 32 && x.replace('-', '').replace('_', '')"
         ".replace('<', '').replace('>', '').replace(' ', '') in " +
         cel::list(placeholders) + "))";
}

}  // namespace

// The API server counts what an expression costs: a text is searched for what looks like a name
// with short patterns, and only what they find is held against the long ones.
std::string cel_gives_key(std::string_view text) {
  const std::string cut(kCutClass);
  const std::string no_cut(kNoCutClass);
  const std::string name = names_key_pattern(kInName);
  const std::string flag = key_flag_pattern(kInName);
  const std::string namelike = std::string(kInName) + "*(?:key|token|bedrock)";
  const std::string flaglike =
      "--+(?:" + namelike + "|openai[-_]api[-_]ke?|ant[-_a-z]*|api[-_a-z]*)";
  // NAME=KEY and --flag=KEY: the value is what follows the first =, but for one that begins the
  // match.
  const std::string equals =
      "(?:^|=|" + cut + ")(?:" + namelike + "|" + flaglike + ")=" + no_cut + "+";
  const std::string equals_name = "^(?:=|" + cut + ")?(?:-*" + name + "|" + flag + ")=";
  // --flag KEY and NAME="KEY": the value is the last word.
  const std::string words = "(?:^|" + cut + ")(?:" + flaglike + cut + "+|(?:" + namelike + "|" +
                            flaglike + ")=[\"']" + cut + "*)" + no_cut + "+";
  const std::string words_name =
      "^" + cut + "?(?:" + flag + cut + "|(?:-*" + name + "|" + flag + ")=[\"'])";
  std::string look;
  std::size_t shortest = 64;
  for (const Prefix& prefix : kPrefixes) {
    look += (look.empty() ? "" : "|") + std::string(prefix.text) + "[-_0-9A-Za-z]{" +
            std::to_string(prefix.rest) + "}";
    shortest = std::min(shortest, prefix.text.size() + prefix.rest);
  }
  const std::string given(text);
  return "(" + given + ".findAll(" + cel::text("[-_0-9A-Za-z]{" + std::to_string(shortest) + ",}") +
         ").exists(r, r.matches(" + cel::text("^(?:" + look + ")") + ")) || [" + given +
         ".lowerAscii()].exists(t, t.matches('key|token|--[-]*(?:api|ant|openai)') && (t.findAll(" +
         cel::text(equals) + ").exists(m, m.matches(" + cel::text(equals_name) + ") && " +
         cel_key_value("m.substring(m.indexOf('=', 1) + 1)") + ") || t.findAll(" +
         cel::text(words) + ").exists(m, m.matches(" + cel::text(words_name) + ") && " +
         cel_key_value("m.find(" + cel::text(no_cut + "+$") + ")") + "))))";
}

std::string cel_variable_gives_key(std::string_view name, std::string_view value) {
  const std::string given(value);
  return "(" + given + " != '' && ([" + std::string(name) +
         ".lowerAscii()].exists(n, n.matches('(?:key|token|bedrock)$') && n.matches(" +
         cel::text("(?s)^" + names_key_pattern(".") + "$") + ")) && " +
         cel_key_value(given + ".lowerAscii()") + " || " + cel_gives_key(value) + "))";
}

bool names_key(std::string_view name) {
  if (std::ranges::any_of(kKeyEndings, [&](std::string_view ending) {
        if (!ends_with_folded(name, ending)) return false;
        const std::size_t before = name.size() - ending.size();
        return before == 0 || fold(name[before - 1]) == '_' || ending == "API_KEY" ||
               ending == "APIKEY";
      })) {
    return true;
  }
  if (!ends_with_folded(name, "_TOKEN") && !ends_with_folded(name, "_KEY")) return false;
  if (starts_with_folded(name, "AIDER_")) name.remove_prefix(6);
  return std::ranges::any_of(kTokenVendors, [&](std::string_view vendor) {
    return name.size() > vendor.size() && starts_with_folded(name, vendor) &&
           fold(name[vendor.size()]) == '_';
  });
}

bool key_value(std::string_view value) {
  while (!value.empty() && space_or_quote(value.front()))
    value.remove_prefix(1);
  while (!value.empty() && space_or_quote(value.back()))
    value.remove_suffix(1);
  if (const auto equals = value.find('='); equals != std::string_view::npos) {
    const std::string_view key = value.substr(equals + 1);
    // Trailing = are base64's padding, not a provider's name.
    if (key.find_first_not_of('=') != std::string_view::npos) value = key;
  }
  if (value.starts_with('$')) return false;
  return !is_placeholder(value);
}

bool key_flag(std::string_view word) {
  if (!word.starts_with("--")) return false;
  word = without_dashes(word);
  if (word.empty() || word.find('=') != std::string_view::npos) return false;
  if (names_key(word)) return true;
  return std::ranges::any_of(kFlags, [&](const Flag& flag) {
    return word.size() >= flag.least && word.size() <= flag.name.size() &&
           equals_folded(word, flag.name.substr(0, word.size()));
  });
}

bool gives_key(std::string_view text) {
  bool expected = false;
  std::size_t at = 0;
  while (at < text.size()) {
    while (at < text.size() && space_or_quote(text[at]))
      ++at;
    std::size_t end = at;
    // A dollar keeps its braces: ${NAME} and $(NAME) are references.
    while (end < text.size() && !space_or_quote(text[end]))
      ++end;
    if (end == at) break;
    const std::string_view word = text.substr(at, end - at);
    if (expected && key_value(word)) return true;
    if (word_gives_key(word)) return true;
    expected = key_flag(word) || opens_quoted_key(word, text.substr(end));
    at = end;
  }
  return false;
}

bool looks_like_key(std::string_view text) {
  for (const Prefix& prefix : kPrefixes) {
    for (std::size_t at = text.find(prefix.text); at != std::string_view::npos;
         at = text.find(prefix.text, at + 1)) {
      if (at > 0 && key_character(text[at - 1])) continue;
      std::size_t end = at + prefix.text.size();
      while (end < text.size() && key_character(text[end]))
        ++end;
      if (end - at - prefix.text.size() >= prefix.rest) return true;
    }
  }
  return false;
}

}  // namespace palisade::policy
