// A namespace's ledger as a ConfigMap of the gateway's namespace.
#pragma once

#include <chrono>
#include <expected>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gateway/serve/budgets.h>
#include <gateway/serve/ledger.h>

#include <kube/client.h>

namespace palisade::gateway {

inline constexpr const char* kLedgerKey = "ledger.json";

inline std::string configmap_name(std::string_view ns) {
  return std::string(kBudgetPrefix) + std::string(ns);
}

// A ledger as it is stored.
struct Stored {
  Ledger ledger;
  std::string version;  // "": it is not there yet
  std::chrono::steady_clock::time_point read;
};

inline std::string version_of(const kube::Json& object) {
  const kube::Json::json_pointer at("/metadata/resourceVersion");
  return object.contains(at) && object[at].is_string() ? object[at].get<std::string>()
                                                       : std::string();
}

inline std::expected<Stored, std::string> stored(const kube::Json& object) {
  const kube::Json::json_pointer at = kube::Json::json_pointer("/data") / kLedgerKey;
  if (!object.contains(at) || !object[at].is_string())
    return std::unexpected(std::string("data: has no ") + kLedgerKey);
  auto ledger = Ledger::parse(object[at].get_ref<const std::string&>());
  if (!ledger) return std::unexpected(std::string(kLedgerKey) + ": " + ledger.error());
  const std::string version = version_of(object);
  if (version.empty()) return std::unexpected("has no resourceVersion");
  return Stored{std::move(*ledger), version, std::chrono::steady_clock::now()};
}

// Removes what names workspaces that are gone, and ledgers that nobody needs, of these namespaces
// or, where none is given, of all. Blocks; until either token stops it.
void sweep_ledgers(const kube::Client& client, const std::string& gateway_ns,
                   const std::vector<std::string>& namespaces, const std::stop_token& stop,
                   const std::stop_token& term);

}  // namespace palisade::gateway
