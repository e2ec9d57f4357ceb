#include <algorithm>
#include <limits>

#include <policy/agent_policy.h>

#include "budgets.h"
#include "object_reader.h"
#include "quantity_field.h"
#include "setup_mirrors.h"
#include "signature_rules.h"

namespace palisade::policy {

using simdjson::dom::element;

namespace {

using Texts = std::vector<std::string>;

FieldReader texts(std::optional<Texts>& target, bool allow_empty = false) {
  return [&target, allow_empty](element v) { return read_texts(v, target.emplace(), allow_empty); };
}

FieldReader quantity(std::optional<std::int64_t>& target, Unit unit) {
  return [&target, unit](element v) -> std::string {
    constexpr const char* kWanted = "a quantity above 0, such as 500m or 2Gi";
    std::string_view text;
    std::string number;
    if (std::int64_t whole = 0; v.get(whole) == simdjson::SUCCESS) {
      number = std::to_string(whole);
      text = number;
    } else if (v.get(text) != simdjson::SUCCESS) {
      return kWanted;
    }
    const auto value = parse_quantity(text, unit);
    if (!value || *value <= 0) return kWanted;
    target = *value;
    return {};
  };
}

// An agent reaches its relay and nothing else: what its pod may reach beyond that is the relay's
// and the courier's, and no bound makes it the agent's.
std::string agent_permissions(element value, std::optional<Texts>& target) {
  if (std::string why = read_texts(value, target.emplace(), false); !why.empty()) return why;
  const auto network = std::ranges::find_if(*target, [](const std::string& name) {
    return name == "network" || name == "network.egress" || name.starts_with("network.egress.");
  });
  if (network == target->end()) return {};
  return "names without " + *network +
         ", which no agent may have: the network is its relay's; take it out";
}

Texts intersection(const Texts& a, const Texts& b) {
  Texts out;
  for (const std::string& item : a) {
    if (std::ranges::find(b, item) != b.end() && std::ranges::find(out, item) == out.end())
      out.push_back(item);
  }
  return out;
}

// Of two sets of prefixes: the longer one wherever one lies within the other.
Texts prefix_intersection(const Texts& a, const Texts& b) {
  const auto within = [](std::string_view inner, std::string_view outer) {
    while (outer.ends_with('/'))
      outer.remove_suffix(1);
    return inner == outer || (inner.starts_with(outer) && inner[outer.size()] == '/');
  };
  Texts out;
  for (const std::string& x : a) {
    for (const std::string& y : b) {
      const std::string* both = within(x, y) ? &x : within(y, x) ? &y : nullptr;
      if (both != nullptr && std::ranges::find(out, *both) == out.end()) out.push_back(*both);
    }
  }
  return out;
}

// Of two sets of repositories: the narrower one wherever one lies within the other.
Texts repository_intersection(const Texts& a, const Texts& b) {
  const auto within = [](const std::string& inner, const std::string& outer) {
    if (inner == outer) return true;
    return outer.ends_with("/*") && inner.size() > outer.size() - 1 &&
           inner.starts_with(std::string_view(outer).substr(0, outer.size() - 1));
  };
  Texts out;
  for (const std::string& x : a) {
    for (const std::string& y : b) {
      const std::string* both = within(x, y) ? &x : within(y, x) ? &y : nullptr;
      if (both != nullptr && std::ranges::find(out, *both) == out.end()) out.push_back(*both);
    }
  }
  return out;
}

template <class Combine>
void narrow(std::optional<Texts>& setting, const std::optional<Texts>& bound, Combine combine) {
  if (!bound) return;
  // With itself: what is given twice counts once.
  setting = combine(setting ? *setting : *bound, *bound);
}

// Those that every policy that speaks of mirrors has, as it has them.
void narrow_mirrors(std::optional<std::vector<SetupMirror>>& setting,
                    const std::optional<std::vector<SetupMirror>>& bound) {
  if (!bound) return;
  if (!setting) {
    setting = *bound;
    return;
  }
  std::erase_if(*setting, [&](const SetupMirror& mirror) {
    return std::ranges::find(*bound, mirror) == bound->end();
  });
}

void narrow(std::int64_t& setting, const std::optional<std::int64_t>& bound) {
  if (bound) setting = std::min(setting, *bound);
}

void narrow(std::optional<std::int64_t>& setting, const std::optional<std::int64_t>& bound) {
  if (bound) setting = setting ? std::min(*setting, *bound) : *bound;
}

void add_signatures(Settings& settings, const AgentPolicy& policy) {
  if (policy.signatures.empty()) return;
  SignaturePolicy demand{policy.name, policy.signatures};
  // What is given twice counts once.
  if (std::ranges::find(settings.signatures, demand) == settings.signatures.end())
    settings.signatures.push_back(std::move(demand));
}

void narrow(LlmBudget& setting, const LlmBudget& bound) {
  narrow(setting.tokens, bound.tokens);
  narrow(setting.requests_per_minute, bound.requests_per_minute);
  narrow(setting.cost_micros, bound.cost_micros);
}

}  // namespace

std::expected<std::int64_t, std::string> parse_duration(std::string_view text) {
  const auto wrong = [] {
    return std::unexpected(std::string("a duration above 0, such as 90s, 30m or 1h30m"));
  };
  std::int64_t total = 0;
  std::int64_t last_unit = std::numeric_limits<std::int64_t>::max();
  std::size_t at = 0;
  while (at < text.size()) {
    std::int64_t number = 0;
    const std::size_t begin = at;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
      number = number * 10 + (text[at] - '0');
      if (number > 1'000'000'000) return wrong();
    }
    if (at == begin || at == text.size()) return wrong();
    const char letter = text[at++];
    const std::int64_t unit = letter == 'h' ? 3600 : letter == 'm' ? 60 : letter == 's' ? 1 : 0;
    if (unit == 0 || unit >= last_unit) return wrong();
    last_unit = unit;
    total += number * unit;
  }
  if (total <= 0) return wrong();
  return total;
}

std::expected<std::int64_t, std::string> parse_money(std::string_view text) {
  constexpr std::size_t kDecimals = 6;
  constexpr std::size_t kMostDigits = 9;
  const auto dot = text.find('.');
  const std::string_view whole = text.substr(0, dot);
  const std::string_view part =
      dot == std::string_view::npos ? std::string_view() : text.substr(dot + 1);
  const auto digits = [](std::string_view value) {
    return std::ranges::all_of(value, [](char c) { return c >= '0' && c <= '9'; });
  };
  const bool shaped = !whole.empty() && whole.size() <= kMostDigits && digits(whole) &&
                      part.size() <= kDecimals && digits(part) &&
                      (dot == std::string_view::npos || !part.empty());
  std::int64_t micros = 0;
  if (shaped) {
    for (const char c : whole)
      micros = micros * 10 + (c - '0');
    for (std::size_t i = 0; i < kDecimals; ++i)
      micros = micros * 10 + (i < part.size() ? part[i] - '0' : 0);
  }
  if (micros <= 0)
    return std::unexpected(
        "an amount of US dollars above 0, with at most six decimals, such as \"5.00\"");
  return micros;
}

std::expected<AgentPolicy, std::string> parse_agent_policy(element object) {
  AgentPolicy out;
  std::string_view text;
  if (object.at_pointer("/metadata/name").get(text) == simdjson::SUCCESS) out.name = text;
  element spec;
  if (object["spec"].get(spec) != simdjson::SUCCESS) return std::unexpected("spec is missing");
  const auto part = [](std::expected<void, std::string> read) {
    return read ? std::string() : read.error();
  };
  const auto read = read_members(
      spec, "spec",
      {{"namespaceSelector",
        [&](element v) -> std::string {
          auto selector = Selector::parse(v, "spec.namespaceSelector");
          if (!selector) return selector.error();
          out.namespaces = std::move(*selector);
          return {};
        }},
       {"allowedRegistries", texts(out.allowed_registries)},
       {"requireDigests",
        [&](element v) -> std::string {
          return v.get(out.require_digests) == simdjson::SUCCESS ? "" : "true or false";
        }},
       {"requireSignatures",
        [&](element v) {
          return read_signature_rules(v, "spec.requireSignatures", out.signatures);
        }},
       {"allowedRuntimeClasses", texts(out.allowed_runtime_classes, true)},
       {"maxResources",
        [&](element v) {
          return part(
              read_members(v, "spec.maxResources",
                           {{"cpu", quantity(out.max_cpu_millis, Unit::milli)},
                            {"memory", quantity(out.max_memory_bytes, Unit::one)},
                            {"ephemeral-storage", quantity(out.max_ephemeral_bytes, Unit::one)}}));
        }},
       {"maxLifetime",
        [&](element v) -> std::string {
          std::string duration;
          if (!read_text(v, duration).empty()) return "a duration such as 4h";
          const auto seconds = parse_duration(duration);
          if (!seconds) return seconds.error();
          out.max_lifetime_seconds = *seconds;
          return {};
        }},
       {"limits",
        [&](element v) {
          return part(read_members(v, "spec.limits", {{"maxRunning", [&](element e) -> std::string {
                                                         std::int64_t most = 0;
                                                         if (e.get(most) != simdjson::SUCCESS ||
                                                             most < 0)
                                                           return "a whole number, 0 or above";
                                                         out.max_running = most;
                                                         return {};
                                                       }}}));
        }},
       {"archive",
        [&](element v) {
          return part(read_members(v, "spec.archive", {{"required", [&](element e) -> std::string {
                                                          return e.get(out.archive_required) ==
                                                                         simdjson::SUCCESS
                                                                     ? ""
                                                                     : "true or false";
                                                        }}}));
        }},
       {"allowedLLMGateways", texts(out.allowed_llm_gateways)},
       {"allowedGitHosts", texts(out.allowed_git_hosts)},
       {"allowedModels", texts(out.allowed_models)},
       {"allowedRepositories",
        [&](element v) { return read_repositories(v, out.allowed_repositories.emplace()); }},
       {"llmBudget",
        [&](element v) {
          return part(read_members(v, "spec.llmBudget",
                                   {{"perWorkspace",
                                     [&](element e) {
                                       return part(read_budget(e, "spec.llmBudget.perWorkspace", "",
                                                               out.workspace_budget));
                                     }},
                                    {"perNamespace", [&](element e) {
                                       return part(read_budget(e, "spec.llmBudget.perNamespace",
                                                               "PerDay", out.namespace_budget));
                                     }}}));
        }},
       {"allowedTokenAudiences", texts(out.allowed_token_audiences)},
       {"setup",
        [&](element v) {
          return part(read_members(v, "spec.setup", {{"mirrors", [&](element e) {
                                                        return read_setup_mirrors(
                                                            e, "spec.setup.mirrors",
                                                            out.setup_mirrors.emplace());
                                                      }}}));
        }},
       {"sessions",
        [&](element v) {
          return part(read_members(
              v, "spec.sessions",
              {{"users", texts(out.session_users)}, {"groups", texts(out.session_groups)}}));
        }},
       {"permissions", [&](element v) {
          return part(read_members(
              v, "spec.permissions",
              {{"agent", [&](element e) { return agent_permissions(e, out.agent_permissions); }}}));
        }}});
  if (!read) return std::unexpected(read.error());
  // Who speaks of sessions names everyone: the groups too where only users are given.
  if (out.session_users || out.session_groups) {
    if (!out.session_users) out.session_users.emplace();
    if (!out.session_groups) out.session_groups.emplace();
  }
  return out;
}

Settings tightened(Settings settings, std::span<const AgentPolicy* const> policies) {
  std::optional<Texts> users;
  std::optional<Texts> groups;
  for (const AgentPolicy* policy : policies) {
    narrow(settings.allowed_registries, policy->allowed_registries, prefix_intersection);
    settings.require_digests = settings.require_digests || policy->require_digests;
    add_signatures(settings, *policy);
    narrow(settings.allowed_runtime_classes, policy->allowed_runtime_classes, intersection);
    narrow(settings.max_cpu_millis, policy->max_cpu_millis);
    narrow(settings.max_memory_bytes, policy->max_memory_bytes);
    narrow(settings.max_ephemeral_bytes, policy->max_ephemeral_bytes);
    narrow(settings.max_lifetime_seconds, policy->max_lifetime_seconds);
    narrow(settings.allowed_llm_gateways, policy->allowed_llm_gateways, intersection);
    narrow(settings.allowed_git_hosts, policy->allowed_git_hosts, intersection);
    narrow(settings.allowed_models, policy->allowed_models, intersection);
    narrow(settings.allowed_repositories, policy->allowed_repositories, repository_intersection);
    narrow(settings.workspace_budget, policy->workspace_budget);
    narrow(settings.namespace_budget, policy->namespace_budget);
    if (policy->allowed_token_audiences) {
      settings.allowed_token_audiences =
          intersection(settings.allowed_token_audiences, *policy->allowed_token_audiences);
    }
    narrow_mirrors(settings.setup_mirrors, policy->setup_mirrors);
    narrow(users, policy->session_users, intersection);
    narrow(groups, policy->session_groups, intersection);
    narrow(settings.agent_permissions, policy->agent_permissions, intersection);
  }
  // The cluster's own list holds whatever the policies say.
  const auto add = [](Texts& to, const std::optional<Texts>& from) {
    if (from) to.insert(to.end(), from->begin(), from->end());
  };
  add(settings.session_users, users);
  add(settings.session_groups, groups);
  return settings;
}

}  // namespace palisade::policy
