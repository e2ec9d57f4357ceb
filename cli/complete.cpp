#include "complete.h"

#include <algorithm>
#include <chrono>
#include <string_view>

#include <CLI/CLI.hpp>

#include "json_at.h"
#include "live.h"

namespace palisade::cli {
namespace {

constexpr auto kPatience = std::chrono::seconds(3);

// A shell expands what its completions give it.
bool is_plain(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-_.=/").contains(c);
  });
}

// The option that a word names: "--output", "-o", "--wait=..."; nullptr where there is none.
const CLI::Option* option_of(const CLI::App& app, std::string_view word) {
  if (!word.starts_with('-') || word == "-" || word == "--") return nullptr;
  return app.get_option_no_throw(std::string(word.substr(0, word.find('='))));
}

bool takes_value(const CLI::Option& option) {
  return option.get_expected_max() > 0 && option.get_type_size_max() > 0;
}

// What a value may be, as the help says it: "{json,yaml}".
std::vector<std::string> values_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const std::size_t begin = type.find('{');
  const std::size_t end = type.find('}', begin);
  std::vector<std::string> out;
  if (begin == std::string::npos || end == std::string::npos) return out;
  std::string_view list = std::string_view(type).substr(begin + 1, end - begin - 1);
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    out.emplace_back(list.substr(0, comma));
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  }
  return out;
}

// What the words before say, and how many of them are positional.
struct Said {
  Names::Where where;
  std::size_t positional = 0;
};

Said read(const CLI::App& app, const std::vector<std::string>& words, std::size_t from) {
  Said out;
  for (std::size_t i = from; i + 1 < words.size(); ++i) {
    const CLI::Option* option = option_of(app, words[i]);
    if (option == nullptr) {
      out.positional += words[i].starts_with('-') ? 0 : 1;
      continue;
    }
    const std::size_t equals = words[i].find('=');
    std::string value;
    if (equals != std::string::npos) {
      value = words[i].substr(equals + 1);
    } else if (takes_value(*option) && i + 2 < words.size()) {
      value = words[++i];
    }
    if (option->check_lname("namespace")) out.where.ns = value;
    if (option->check_lname("context")) out.where.context = value;
    if (option->check_lname("kubeconfig")) out.where.kubeconfig = value;
    if (option->check_lname("as")) out.where.as.user = value;
    if (option->check_lname("as-uid")) out.where.as.uid = value;
    if (option->check_lname("as-group")) out.where.as.groups.push_back(value);
  }
  return out;
}

std::vector<std::string> candidates(const CLI::App& app, const std::vector<std::string>& words,
                                    const Names& names) {
  std::vector<std::string> out;
  const auto command = std::ranges::find_if(
      words.begin(), words.end() - 1, [](const auto& word) { return !word.starts_with('-'); });
  if (command == words.end() - 1) {
    for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; })) {
      if (!one->get_group().empty()) out.push_back(one->get_name());
    }
    return out;
  }
  const auto named =
      app.get_subcommands([&](const CLI::App* one) { return one->get_name() == *command; });
  if (named.empty()) return out;
  const CLI::App* chosen = named.front();
  const auto from = static_cast<std::size_t>(command - words.begin()) + 1;
  const Said said = read(*chosen, words, from);
  const CLI::Option* before =
      words.size() >= from + 2 ? option_of(*chosen, words[words.size() - 2]) : nullptr;
  if (before != nullptr && takes_value(*before) &&
      words[words.size() - 2].find('=') == std::string::npos) {
    if (before->check_lname("namespace")) return names.namespaces(said.where);
    return values_of(*before);
  }
  if (words.back().starts_with('-')) {
    for (const CLI::Option* option : chosen->get_options()) {
      for (const std::string& name : option->get_lnames())
        out.push_back("--" + name);
    }
    return out;
  }
  std::size_t place = 0;
  for (const CLI::Option* option : chosen->get_options()) {
    if (!option->get_positional() || place++ != said.positional) continue;
    const std::string name = option->get_name(true);
    if (name == "WORKSPACE" || name == "workspace") return names.workspaces(said.where);
    return values_of(*option);
  }
  return out;
}

std::vector<std::string> names_of(const Names::Where& where, const kube::Resource& resource) {
  std::vector<std::string> out;
  auto config = kube::load_config(where.kubeconfig, where.context, where.as);
  if (!config) return out;
  kube::ListOptions options;
  if (resource.namespaced) options.ns = where.ns.empty() ? config->namespace_ : where.ns;
  const auto client =
      kube::Client::connect(std::move(*config), kube::Client::TransportKind::kBeast, kPatience);
  const auto page = client->list_page(resource, options);
  if (!page) return out;
  for (const kube::Json& one : page->items)
    out.push_back(raw_text_at(one, {"metadata", "name"}));
  return out;
}

}  // namespace

std::vector<std::string> complete(const CLI::App& app, const std::vector<std::string>& words,
                                  const Names& names) {
  if (words.empty()) return {};
  std::vector<std::string> out = candidates(app, words, names);
  std::erase_if(out, [&](const std::string& one) {
    return !one.starts_with(words.back()) || !is_plain(one);
  });
  std::ranges::sort(out);
  return out;
}

Names names_of_the_cluster() {
  return {[](const Names::Where& where) { return names_of(where, kinds::kAgentWorkspaces); },
          [](const Names::Where& where) { return names_of(where, kube::resources::kNamespaces); }};
}

std::string completion_script(const std::string& shell) {
  if (shell == "bash") {
    return R"(# source <(palisade completion bash)
_palisade() {
  local IFS=$'\n'
  COMPREPLY=($("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _palisade palisade kubectl-palisade
)";
  }
  if (shell == "zsh") {
    return R"(#compdef palisade kubectl-palisade
# source <(palisade completion zsh)
_palisade() {
  local -a found
  found=("${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _palisade palisade kubectl-palisade
)";
  }
  return R"(# palisade completion fish | source
function __palisade_offered
  set -l found (palisade __complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
  if test -n "$found"
    printf '%s\n' $found
  else
    __fish_complete_path (commandline -ct)
  end
end
complete -c palisade -c kubectl-palisade -f -a '(__palisade_offered)'
)";
}

}  // namespace palisade::cli
