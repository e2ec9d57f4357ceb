#include <algorithm>
#include <string>

#include <policy/agent_policy.h>
#include <policy/guards.h>
#include <policy/workspace.h>

#include "images.h"
#include "quantity_field.h"
#include "report.h"

namespace palisade::policy {

namespace {

using Allowed = std::optional<std::vector<std::string>>;

bool allows(const Allowed& allowed, std::string_view value) {
  return !allowed || std::ranges::find(*allowed, value) != allowed->end();
}

std::string listed(const Allowed& allowed) {
  std::string out;
  for (const std::string& item : *allowed)
    out += (out.empty() ? "" : ", ") + (item.empty() ? std::string("(none)") : item);
  return out.empty() ? "nothing" : out;
}

// One of the settings' list; an absent field has the value `missing`.
void one_of(Report& report, const Node& node, std::string_view missing, const Allowed& allowed) {
  const auto value = node.text();
  if (value.broken()) {
    report.wrong_type(node, "a text");
  } else if (const auto chosen = value.absent() ? missing : value.value; !allows(allowed, chosen)) {
    report(node, "is not among what is allowed in this namespace: " + listed(allowed));
  }
}

// HOST[:PORT] of an https:// URL, as allowedGitHosts names hosts: with or without the port.
void git_host(Report& report, const Node& url, const Allowed& allowed) {
  const auto value = url.text();
  if (!value.present()) {
    report.wrong_type(url, "the URL of a repository");
    return;
  }
  if (!allowed) return;
  std::string_view rest = value.value;
  if (const auto scheme = rest.find("://"); scheme != std::string_view::npos)
    rest.remove_prefix(scheme + 3);
  rest = rest.substr(0, rest.find_first_of("/?#"));
  if (const auto user = rest.rfind('@'); user != std::string_view::npos)
    rest.remove_prefix(user + 1);
  std::string authority(rest);
  std::ranges::transform(authority, authority.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const auto colon = authority.rfind(':');
  const bool port = colon != std::string::npos && authority.find(']', colon) == std::string::npos;
  const std::string host = port ? authority.substr(0, colon) : authority;
  if (!allows(allowed, authority) && !allows(allowed, host)) {
    report(url, "names a git host that is not among what is allowed in this namespace: " +
                    listed(allowed));
  }
}

void limit(Report& report, const Node& node, Unit unit, std::int64_t most, std::string_view of) {
  const auto value = read_quantity(node, unit);
  if (value.broken()) {
    report.wrong_type(node, "a quantity such as 500m or 2Gi");
  } else if (value.present() && value.value > most) {
    report(node, "must be at most " + std::to_string(most) + " " + std::string(of));
  }
}

void limits_of(Report& report, const Node& resources, const Settings& settings) {
  const Node limits = resources["limits"];
  const Node cpu = limits["cpu"];
  const Node memory = limits["memory"];
  const Node storage = limits["ephemeral-storage"];
  limit(report, cpu, Unit::milli, settings.max_cpu_millis, "thousandths of a CPU");
  limit(report, memory, Unit::one, settings.max_memory_bytes, "bytes");
  limit(report, storage, Unit::one, settings.max_ephemeral_bytes, "bytes");
}

void repository_of(Report& report, const Node& url, const Settings& settings) {
  const auto value = url.text();
  if (value.present() && !repository_allowed(value.value, settings))
    report(url, "is not among the repositories that are allowed in this namespace: " +
                    listed(settings.allowed_repositories));
}

void models(Report& report, const Node& agent, const Node& llm, const Settings& settings) {
  const Node model = agent["model"];
  one_of(report, model, "gpt-4o", settings.allowed_models);
  const Node others = llm["models"];
  each_item(report, others, [&](const Node& item) {
    const auto name = item.text();
    if (!name.present()) {
      report.wrong_type(item, "the name of a model");
    } else if (!model_allowed(name.value, settings)) {
      report(item,
             "is not among what is allowed in this namespace: " + listed(settings.allowed_models));
    }
  });
}

void image_of(Report& report, const Node& image, const Settings& settings) {
  const auto name = image.text();
  if (name.broken()) {
    report.wrong_type(image, "the name of an image");
  } else if (name.present()) {
    for (std::string& problem : image_problems(name.value, settings))
      report(image, std::move(problem));
  }
}

// spec.setup: image, limits, time and mirrors.
void setup_of(Report& report, const Node& setup, const Settings& settings) {
  const Node image = setup["image"];
  image_of(report, image, settings);
  const Node resources = setup["resources"];
  limits_of(report, resources, settings);
  const Node timeout = setup["timeout"];
  const auto text = timeout.text();
  const auto seconds = parse_duration(text.absent() ? "10m" : text.value);
  if (text.broken() || !seconds) {
    report.wrong_type(timeout, "a duration such as 10m");
  } else if (*seconds > settings.max_lifetime_seconds) {
    report(timeout, "must be at most " + std::to_string(settings.max_lifetime_seconds) +
                        " seconds in this namespace");
  }
  Allowed known(std::in_place);
  for (const SetupMirror& mirror : settings.setup_mirrors.value_or(std::vector<SetupMirror>()))
    known->push_back(mirror.name);
  const Node mirrors = setup["mirrors"];
  each_item(report, mirrors, [&](const Node& item) {
    const auto mirror = item.text();
    if (!mirror.present()) {
      report.wrong_type(item, "the name of a mirror");
    } else if (!allows(known, mirror.value)) {
      report(item,
             "is not among the mirrors that setups may reach in this namespace: " + listed(known) +
                 "; name one of these, or have an administrator add it to spec.setup.mirrors "
                 "of an AgentPolicy");
    }
  });
}

std::string dollars(std::int64_t micros) {
  constexpr std::int64_t kMicros = 1'000'000;
  std::string part = std::to_string(micros % kMicros + kMicros).substr(1);
  while (part.size() > 2 && part.back() == '0')
    part.pop_back();
  return std::to_string(micros / kMicros) + "." + part;
}

void budget(Report& report, const Node& asked, const LlmBudget& most) {
  const auto count = [&](const Node& node, const std::optional<std::int64_t>& bound) {
    const auto value = node.integer();
    if (value.broken() || (value.present() && value.value <= 0)) {
      report.wrong_type(node, "a whole number above 0");
    } else if (value.present() && bound && value.value > *bound) {
      report(node, "must be at most " + std::to_string(*bound) + " in this namespace");
    }
  };
  const Node tokens = asked["tokens"];
  const Node requests = asked["requestsPerMinute"];
  const Node cost = asked["cost"];
  count(tokens, most.tokens);
  count(requests, most.requests_per_minute);
  const auto text = cost.text();
  if (text.absent()) return;
  const auto micros = parse_money(text.present() ? text.value : "");
  if (!micros) {
    report.wrong_type(cost, micros.error());
  } else if (most.cost_micros && *micros > *most.cost_micros) {
    report(cost, "must be at most " + dollars(*most.cost_micros) + " US dollars in this namespace");
  }
}

}  // namespace

std::vector<Finding> evaluate_workspace(simdjson::dom::element workspace,
                                        const Settings& settings) {
  std::vector<Finding> findings;
  Report report{kWorkspaceBounds, findings};
  const Node root(workspace, "");
  const Node spec = root["spec"];
  const Node agent = spec["agent"];
  const Node repository = spec["repository"];
  const Node llm = spec["llm"];
  const Node isolation = spec["isolation"];
  const Node lifecycle = spec["lifecycle"];

  const Node url = repository["url"];
  git_host(report, url, settings.allowed_git_hosts);
  repository_of(report, url, settings);
  models(report, agent, llm, settings);
  const Node asked = llm["budget"];
  budget(report, asked, settings.workspace_budget);
  const Node gateway = llm["gateway"];
  one_of(report, gateway, "default", settings.allowed_llm_gateways);
  const Node runtime_class = isolation["runtimeClassName"];
  one_of(report, runtime_class, "", settings.allowed_runtime_classes);

  // Absent: the operator's own, which pods are judged with.
  const Node image = agent["image"];
  image_of(report, image, settings);

  const Node user_namespace = isolation["userNamespace"];
  const auto own = user_namespace.boolean();
  if (own.broken()) {
    report.wrong_type(user_namespace, "true or false");
  } else if (settings.require_user_namespace && own.is(false)) {
    report(user_namespace, "must be true here: the settings require a user namespace");
  }

  const Node resources = agent["resources"];
  limits_of(report, resources, settings);
  if (const Node setup = spec["setup"]; !setup.absent()) setup_of(report, setup, settings);

  const Node deadline = lifecycle["deadline"];
  const auto text = deadline.text();
  const auto seconds = parse_duration(text.absent() ? "2h" : text.value);
  if (text.broken() || !seconds) {
    report.wrong_type(deadline, "a duration such as 2h");
  } else if (*seconds > settings.max_lifetime_seconds) {
    report(deadline, "must be at most " + std::to_string(settings.max_lifetime_seconds) +
                         " seconds in this namespace");
  }
  return findings;
}

}  // namespace palisade::policy
