// What counts as an Aider pod. Whoever tries hard enough disguises any of these (a copied and
// renamed program, an encoded argument): a namespace that must not depend on it enforces all pods.
#include <algorithm>

#include "command_lines.h"
#include "pod_view.h"

namespace palisade::policy {
namespace {

constexpr std::string_view kAider = "aider";

char fold(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool letter(char c) {
  return fold(c) >= 'a' && fold(c) <= 'z';
}

bool digit(char c) {
  return c >= '0' && c <= '9';
}

bool equals_folded(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, fold, fold);
}

bool starts_with_folded(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && equals_folded(text.substr(0, prefix.size()), prefix);
}

std::size_t find_folded(std::string_view text, std::string_view part) {
  const auto found = std::ranges::search(text, part, {}, fold, fold);
  return found.empty() ? std::string_view::npos
                       : static_cast<std::size_t>(found.begin() - text.begin());
}

bool word_character(char c) {
  return letter(c) || digit(c) || c == '_' || c == '.' || c == '/' || c == '-';
}

// aider, aider.exe, aider-chat, aider.main: the word, then neither letter nor digit.
bool names_aider(std::string_view name) {
  if (!starts_with_folded(name, kAider)) return false;
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
      (starts_with_folded(name, "__main__.") || starts_with_folded(name, "main."))) {
    const std::string_view folder = word.substr(0, slash);
    if (equals_folded(folder.substr(folder.rfind('/') + 1), kAider)) return true;
  }
  // -maider, and with other short options before it: -Imaider
  if (word.size() > 2 && word[0] == '-' && word[1] != '-') {
    std::size_t at = 1;
    while (at < word.size() && letter(word[at])) {
      if (fold(word[at]) == 'm' && names_aider(word.substr(at + 1))) return true;
      ++at;
    }
  }
  return false;
}

// One element of a command line: a word, or a shell's whole script.
bool runs_aider(std::string_view text) {
  // Nearly every text ends here, without being cut into words.
  if (find_folded(text, kAider) == std::string_view::npos) return false;
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
  return find_folded(image, kAider) != std::string_view::npos;
}

std::string_view container_reason(const Container& container) {
  if (image_names_aider(container.image.text().value)) {
    return "aider is in the path of an image";
  }
  bool runs = false;
  each_command_line(container, [&](const Node& words) {
    const auto list = words.list();
    if (!list.present()) return;
    for (const simdjson::dom::element word : list.value) {
      std::string_view text;
      if (!runs && word.get(text) == simdjson::SUCCESS) runs = runs_aider(text);
    }
  });
  if (runs) return "a command line runs aider";

  constexpr std::string_view kVariable = "AIDER_";
  if (const auto env = container.env.list(); env.present()) {
    for (const simdjson::dom::element variable : env.value) {
      std::string_view name;
      if (variable["name"].get(name) == simdjson::SUCCESS && starts_with_folded(name, kVariable)) {
        return "an AIDER_* variable is set";
      }
    }
  }
  if (const auto sources = container.env_from.list(); sources.present()) {
    for (const simdjson::dom::element source : sources.value) {
      std::string_view prefix;
      if (source["prefix"].get(prefix) == simdjson::SUCCESS &&
          starts_with_folded(prefix, kVariable)) {
        return "AIDER_* variables are set";
      }
    }
  }
  return {};
}

// A label counts whatever its value is: null is an empty one to Kubernetes.
std::string_view label_reason(const Node& metadata) {
  const Node labels = metadata["labels"];
  const auto members = labels.object();
  if (!members.present()) return {};
  for (const auto [key, value] : members.value) {
    if (equals_folded(key, "palisade.dev/agent")) return "the label palisade.dev/agent is set";
    if (equals_folded(key, "palisade.dev/workspace")) {
      return "the label palisade.dev/workspace is set";
    }
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
    return owner["kind"].get(kind) == simdjson::SUCCESS && equals_folded(kind, "AgentWorkspace") &&
           owner["apiVersion"].get(version) == simdjson::SUCCESS &&
           starts_with_folded(version, "palisade.dev/");
  });
}

}  // namespace

std::string agent_reason(simdjson::dom::element pod) {
  const PodView view(pod, "");
  if (const auto reason = label_reason(view.metadata()); !reason.empty())
    return std::string(reason);
  if (owned_by_workspace(view.metadata())) return "an AgentWorkspace owns it";
  for (const Container& container : view.containers()) {
    if (const auto reason = container_reason(container); !reason.empty()) {
      return std::string(reason);
    }
  }
  return {};
}

}  // namespace palisade::policy
