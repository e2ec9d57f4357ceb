// What counts as an Aider pod, and how far disguises are seen through; docs/identification.md says
// it for people. Whoever tries hard enough disguises any of these (a renamed program, a script from
// elsewhere): a namespace that must not depend on it enforces all pods.
#include <algorithm>
#include <array>
#include <cstdint>

#include <policy/setup_claims.h>

#include "command_lines.h"
#include "pod_view.h"

namespace palisade::policy {
namespace {

constexpr std::string_view kAider = "aider";

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool letter(char c) {
  return lower(c) >= 'a' && lower(c) <= 'z';
}

bool digit(char c) {
  return c >= '0' && c <= '9';
}

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}

bool starts_with_ignoring_case(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() &&
         equals_ignoring_case(text.substr(0, prefix.size()), prefix);
}

std::size_t find_ignoring_case(std::string_view text, std::string_view part) {
  const auto found = std::ranges::search(text, part, {}, lower, lower);
  return found.empty() ? std::string_view::npos
                       : static_cast<std::size_t>(found.begin() - text.begin());
}

bool word_character(char c) {
  return letter(c) || digit(c) || c == '_' || c == '.' || c == '/' || c == '-';
}

// aider, aider.exe, aider-chat, aider.main: the word, then neither letter nor digit.
bool names_aider(std::string_view name) {
  if (!starts_with_ignoring_case(name, kAider)) return false;
  if (name.size() == kAider.size()) return true;
  const char next = name[kAider.size()];
  return !letter(next) && !digit(next);
}

bool word_runs_aider(std::string_view word) {
  const auto slash = word.rfind('/');
  const std::string_view name = slash == std::string_view::npos ? word : word.substr(slash + 1);
  if (names_aider(name)) return true;
  // python3 .../site-packages/aider/__main__.py
  if (slash != std::string_view::npos &&
      (starts_with_ignoring_case(name, "__main__.") || starts_with_ignoring_case(name, "main."))) {
    const std::string_view folder = word.substr(0, slash);
    if (equals_ignoring_case(folder.substr(folder.rfind('/') + 1), kAider)) return true;
  }
  // Its sources: git+https://github.com/Aider-AI/aider/archive/main.zip
  if (slash != std::string_view::npos &&
      find_ignoring_case(word, "/aider-ai/") != std::string_view::npos)
    return true;
  // -maider, and with other short options before it: -Imaider
  if (word.size() > 2 && word[0] == '-' && word[1] != '-') {
    std::size_t at = 1;
    while (at < word.size() && letter(word[at])) {
      if (lower(word[at]) == 'm' && names_aider(word.substr(at + 1))) return true;
      ++at;
    }
  }
  return false;
}

// A word, or a shell's whole script, as it stands.
bool names_program(std::string_view text) {
  // Nearly every text ends here, without being cut into words.
  if (find_ignoring_case(text, kAider) == std::string_view::npos) return false;
  std::size_t at = 0;
  while (at < text.size()) {
    while (at < text.size() && !word_character(text[at]))
      ++at;
    std::size_t end = at;
    while (end < text.size() && word_character(text[end]))
      ++end;
    if (end > at && word_runs_aider(text.substr(at, end - at))) return true;
    at = end;
  }
  return false;
}

constexpr std::size_t kMaxUndone = 256 * 1024;
constexpr int kMaxLayers = 3;  // of quotes, references and base64 inside each other

// How much of a pod is unquoted, resolved and decoded, in bytes and look-ups: its author must not
// choose how long a review takes.
class Budget {
 public:
  // As many of `wanted` as are left.
  std::size_t take(std::size_t wanted) {
    const std::size_t given = std::min(wanted, left_);
    left_ -= given;
    return given;
  }

 private:
  std::size_t left_ = kMaxUndone;
};

// What a text has that may hide the word. Base64 of the word in any case, at any place, has two
// capitals in at least seven characters.
struct Marks {
  bool quotes = false;
  bool references = false;
  bool base64 = false;
};

std::int8_t base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<std::int8_t>(c - 'A');
  if (c >= 'a' && c <= 'z') return static_cast<std::int8_t>(c - 'a' + 26);
  if (digit(c)) return static_cast<std::int8_t>(c - '0' + 52);
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

// Line feeds may wrap it.
bool base64_character(char c) {
  return base64_value(c) >= 0 || c == '\n' || c == '\r';
}

constexpr std::size_t kShortestBase64 = 7;
constexpr int kFewestCapitals = 2;

Marks marks_of(std::string_view text) {
  Marks out;
  std::size_t run = 0;
  int capitals = 0;
  for (const char c : text) {
    if (!base64_character(c)) {
      run = 0;
      capitals = 0;
      out.quotes = out.quotes || c == '\'' || c == '"' || c == '\\';
      out.references = out.references || c == '$';
      continue;
    }
    ++run;
    if (c >= 'A' && c <= 'Z') ++capitals;
    out.base64 = out.base64 || (run >= kShortestBase64 && capitals >= kFewestCapitals);
  }
  return out;
}

// ai''der and a\ider are aider to a shell.
std::string unquoted(std::string_view text, Budget& budget) {
  std::string out;
  for (const char c : text.substr(0, budget.take(text.size()))) {
    if (c != '\'' && c != '"' && c != '\\') out += c;
  }
  return out;
}

// The bytes behind `text`, whose characters are Base64's or line feeds.
std::string decoded(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::int8_t value = base64_value(c);
    if (value < 0) continue;
    bits = (bits << 6U | static_cast<std::uint32_t>(value)) & 0xFFFFU;
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> static_cast<unsigned>(count) & 0xFFU);
    }
  }
  return out;
}

// The container's literal variables, which the kubelet puts for $(NAME) and a shell for $NAME.
class Variables {
 public:
  explicit Variables(const Container& container) : list_(container.env.list()) {}
  [[nodiscard]] std::size_t size() const { return list_.present() ? list_.value.size() : 0; }

  [[nodiscard]] std::string_view value(std::string_view name) const {
    std::string_view out;
    if (!list_.present()) return out;
    for (const simdjson::dom::element variable : list_.value) {
      std::string_view own;
      if (variable["name"].get(own) == simdjson::SUCCESS && own == name) {
        if (variable["value"].get(out) != simdjson::SUCCESS) out = {};
      }
    }
    return out;
  }

 private:
  Read<simdjson::dom::array> list_;
};

// $(NAME), ${NAME} and $NAME by their values; what is set nowhere is nothing. Anything else after a
// $, such as a command of the shell's, stays.
std::string resolved(std::string_view text, const Variables& variables, Budget& budget) {
  constexpr std::size_t kLongestName = 256;
  text = text.substr(0, budget.take(text.size()));
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    if (text[at] != '$') {
      out += text[at++];
      continue;
    }
    std::size_t from = at + 1;
    const char open = from < text.size() ? text[from] : '\0';
    const char close = open == '(' ? ')' : open == '{' ? '}' : '\0';
    if (close != '\0') ++from;
    std::size_t to = from;
    const auto in_name = [&](char c) {
      return letter(c) || digit(c) || c == '_' || (close == ')' && (c == '.' || c == '-'));
    };
    while (to < text.size() && to - from < kLongestName && in_name(text[to]))
      ++to;
    const bool closed = close == '\0' || (to < text.size() && text[to] == close);
    if (to == from || !closed) {
      out += text[at++];
      continue;
    }
    if (budget.take(variables.size()) < variables.size()) break;
    const std::string_view value = variables.value(text.substr(from, to - from));
    out += value.substr(0, budget.take(value.size()));
    at = to + (close == '\0' ? 0 : 1);
  }
  return out;
}

// One element of a command line, disguised or not.
// NOLINTNEXTLINE(misc-no-recursion): kMaxLayers deep.
bool runs_aider(std::string_view text, const Variables& variables, Budget& budget,
                int layers = kMaxLayers) {
  if (names_program(text)) return true;
  const Marks marks = marks_of(text);
  if (layers == 0) return false;
  if (marks.references) {
    const std::string plain = resolved(text, variables, budget);
    if (plain != text && runs_aider(plain, variables, budget, layers - 1)) return true;
  }
  if (marks.quotes && runs_aider(unquoted(text, budget), variables, budget, layers - 1))
    return true;
  if (!marks.base64) return false;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    int capitals = 0;
    while (end < text.size() && base64_character(text[end])) {
      if (text[end] >= 'A' && text[end] <= 'Z') ++capitals;
      ++end;
    }
    if (end - at >= kShortestBase64 && capitals >= kFewestCapitals) {
      // A path or an option may stand before it without a gap: each of the four alignments.
      for (std::size_t shift = 0; shift < 4; ++shift) {
        const std::string_view word = text.substr(at + shift, end - at - shift);
        const std::string plain = decoded(word.substr(0, budget.take(word.size())));
        if (runs_aider(plain, variables, budget, layers - 1)) return true;
      }
    }
    at = end + 1;
  }
  return false;
}

// `aider` in the repository's path: after the registry's host, before the tag and the digest.
bool image_names_aider(std::string_view image) {
  image = image.substr(0, image.find('@'));
  const auto slash = image.find('/');
  const auto tag = image.rfind(':');
  if (tag != std::string_view::npos &&
      (slash == std::string_view::npos || tag > image.rfind('/'))) {
    image = image.substr(0, tag);
  }
  if (slash != std::string_view::npos) {
    const std::string_view first = image.substr(0, slash);
    if (first.find_first_of(".:") != std::string_view::npos || first == "localhost") {
      image.remove_prefix(slash + 1);
    }
  }
  // The word, or one that begins with it (aider-full, aiderbot); not one that only holds it
  // (raider), and not first aiders.
  for (std::size_t at = find_ignoring_case(image, kAider); at != std::string_view::npos;) {
    const std::string_view rest = image.substr(at + kAider.size());
    const bool begins = at == 0 || !letter(image[at - 1]);
    const bool plural =
        !rest.empty() && lower(rest[0]) == 's' && (rest.size() == 1 || !letter(rest[1]));
    if (begins && !plural) return true;
    const std::size_t next = find_ignoring_case(rest, kAider);
    at = next == std::string_view::npos ? next : at + kAider.size() + next;
  }
  return false;
}

bool names_variable(const simdjson::simdjson_result<simdjson::dom::element>& name) {
  constexpr std::string_view kVariable = "AIDER_";
  std::string_view text;
  return name.get(text) == simdjson::SUCCESS && starts_with_ignoring_case(text, kVariable);
}

std::string_view container_reason(const Container& container, Budget& budget) {
  if (image_names_aider(container.image.text().value)) {
    return "aider is in the path of an image";
  }
  const Variables variables(container);
  bool runs = false;
  each_command_line(container, [&](const Node& words) {
    const auto list = words.list();
    if (!list.present()) return;
    for (const simdjson::dom::element word : list.value) {
      std::string_view text;
      if (!runs && word.get(text) == simdjson::SUCCESS) runs = runs_aider(text, variables, budget);
    }
  });
  if (runs) return "a command line runs aider";

  if (const auto env = container.env.list(); env.present()) {
    for (const simdjson::dom::element variable : env.value) {
      if (names_variable(variable["name"])) return "an AIDER_* variable is set";
      const auto from = variable["valueFrom"];
      if (names_variable(from["configMapKeyRef"]["key"]) ||
          names_variable(from["secretKeyRef"]["key"])) {
        return "an AIDER_* variable is read";
      }
    }
  }
  if (const auto sources = container.env_from.list(); sources.present()) {
    for (const simdjson::dom::element source : sources.value) {
      if (names_variable(source["prefix"])) return "AIDER_* variables are set";
    }
  }
  return {};
}

// An image can also be mounted.
bool mounts_aider(const Node& volumes) {
  const auto list = volumes.list();
  if (!list.present()) return false;
  return std::ranges::any_of(list.value, [](const simdjson::dom::element volume) {
    std::string_view reference;
    return volume["image"]["reference"].get(reference) == simdjson::SUCCESS &&
           image_names_aider(reference);
  });
}

bool mounts_setup(const Node& volumes) {
  const auto list = volumes.list();
  return list.present() && std::ranges::any_of(list.value, [](const simdjson::dom::element volume) {
           std::string_view claim;
           return volume["persistentVolumeClaim"]["claimName"].get(claim) == simdjson::SUCCESS &&
                  is_setup_claim(claim);
         });
}

// A label counts whatever its value is: null is an empty one to Kubernetes.
std::string_view label_reason(const Node& metadata) {
  const Node labels = metadata["labels"];
  const auto members = labels.object();
  if (!members.present()) return {};
  for (const auto [key, value] : members.value) {
    if (equals_ignoring_case(key, "palisade.dev/agent"))
      return "the label palisade.dev/agent is set";
    if (equals_ignoring_case(key, "palisade.dev/workspace")) {
      return "the label palisade.dev/workspace is set";
    }
    if (equals_ignoring_case(key, "palisade.dev/pool")) return "the label palisade.dev/pool is set";
    if (equals_ignoring_case(key, "palisade.dev/setup"))
      return "the label palisade.dev/setup is set";
  }
  return {};
}

bool owned_by_workspace(const Node& metadata) {
  const Node owners = metadata["ownerReferences"];
  const auto list = owners.list();
  if (!list.present()) return false;
  return std::ranges::any_of(list.value, [](const simdjson::dom::element owner) {
    std::string_view kind;
    std::string_view version;
    return owner["kind"].get(kind) == simdjson::SUCCESS &&
           equals_ignoring_case(kind, "AgentWorkspace") &&
           owner["apiVersion"].get(version) == simdjson::SUCCESS &&
           starts_with_ignoring_case(version, "palisade.dev/");
  });
}

}  // namespace

std::string agent_reason(simdjson::dom::element pod) {
  const PodView view(pod, "");
  if (const auto reason = label_reason(view.metadata()); !reason.empty())
    return std::string(reason);
  if (owned_by_workspace(view.metadata())) return "an AgentWorkspace owns it";
  // Nobody's: a list that nobody looks through would hide whatever is in it.
  if (view.crowded()) return "it has too many containers to look through";
  Budget budget;
  for (const Container& container : view.containers()) {
    if (const auto reason = container_reason(container, budget); !reason.empty()) {
      return std::string(reason);
    }
  }
  if (mounts_aider(view.volumes())) return "aider is in the path of an image that is mounted";
  if (mounts_setup(view.volumes())) return "it mounts what a workspace's setup has made";
  return {};
}

}  // namespace palisade::policy
