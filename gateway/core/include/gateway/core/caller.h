// Who asks, and what it may use: shared by the LLM and the git side.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace palisade::gateway {

// Money is counted in millionths of a US dollar.
using MicroDollars = std::int64_t;

// nullopt: not bounded.
struct Budget {
  std::optional<std::int64_t> tokens;  // over a workspace's life; a day for a namespace
  std::optional<std::int64_t> requests_per_minute;  // LLM calls
  std::optional<MicroDollars> cost;  // over a workspace's life; a day for a namespace
  bool operator==(const Budget&) const = default;
};

struct RepositoryGrant {
  std::string url;     // https://HOST[:PORT]/PATH, spec.repository.url
  std::string branch;  // the only one that may be pushed, without refs/heads/
  bool read_only = true;
  std::string username = "x-access-token";
  bool operator==(const RepositoryGrant&) const = default;
};

// What a workspace may use: its spec, bounded by the AgentPolicies of its namespace. Immutable: a
// change makes a new one.
struct Grant {
  std::vector<std::string> models;  // as the gateway names them, or aliases
  Budget workspace_budget;
  Budget namespace_budget;
  std::optional<RepositoryGrant> repository;  // nullopt: git does not go through the gateway
  bool operator==(const Grant&) const = default;
};

// A workspace's pod, proven by its token.
struct Caller {
  std::string ns;
  std::string workspace;
  std::string workspace_uid;
  std::string pod;
  std::string pod_uid;
  std::shared_ptr<const Grant> grant;
};

// Why something is not done. `status` is HTTP's; `code` a short word for machines, as
// model_not_allowed; `message` says what to do about it.
struct Refusal {
  int status = 403;
  std::string code;
  std::string message;
};

}  // namespace palisade::gateway
