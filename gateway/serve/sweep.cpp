#include <algorithm>
#include <set>

#include <gateway/serve/purse.h>
#include <spdlog/spdlog.h>

#include "kinds.h"
#include "stored.h"

namespace palisade::gateway {

namespace {

using kube::Json;
namespace resources = kube::resources;

// What a ledger names and no list made after it was read holds is gone for good: UIDs do not come
// back.
void sweep_one(const kube::Client& client, const std::string& gateway_ns,
               const std::vector<std::string>& namespaces, const Json& object,
               const std::stop_token& stop) {
  const std::string name = object.at("metadata").value("name", "");
  if (!name.starts_with(kBudgetPrefix)) return;
  const std::string ns = name.substr(kBudgetPrefix.size());
  if (!namespaces.empty() && std::ranges::find(namespaces, ns) == namespaces.end()) return;
  auto kept = stored(object);
  if (!kept) {
    spdlog::warn("budgets of namespace {}: ConfigMap {}: {}", ns, name, kept.error());
    return;
  }
  kube::ListOptions listing;
  listing.ns = ns;
  const auto live = client.list(kWorkspaces, listing, stop);
  if (!live) {
    spdlog::warn("budgets of namespace {}: its AgentWorkspaces cannot be listed: {}", ns,
                 live.error().text());
    return;
  }
  std::set<std::string, std::less<>> uids;
  for (const Json& workspace : live->items)
    uids.insert(workspace.at("metadata").value("uid", ""));
  const std::size_t gone = std::erase_if(
      kept->ledger.workspaces, [&](const auto& entry) { return !uids.contains(entry.first); });
  const std::int64_t today = Moment::now().day;
  const bool needed =
      !kept->ledger.workspaces.empty() || !uids.empty() ||
      (!kept->ledger.days.empty() && kept->ledger.days.rbegin()->first + 1 >= today);
  if (!needed) {
    kube::DeleteOptions deleting;
    deleting.resource_version = kept->version;
    const auto removed = client.remove(resources::kConfigMaps, gateway_ns, name, deleting, stop);
    if (!removed && !removed.error().is_not_found() && !removed.error().is_conflict())
      spdlog::warn("budgets of namespace {}: ConfigMap {}: {}", ns, name, removed.error().text());
    return;
  }
  if (gone == 0) return;
  const auto written =
      client.patch(resources::kConfigMaps, gateway_ns, name, kube::PatchType::kMerge,
                   {{"metadata", {{"resourceVersion", kept->version}}},
                    {"data", {{kLedgerKey, kept->ledger.dump()}}}},
                   "", stop);
  if (!written && !written.error().is_conflict())
    spdlog::warn("budgets of namespace {}: ConfigMap {}: {}", ns, name, written.error().text());
}

}  // namespace

void sweep_ledgers(const kube::Client& client, const std::string& gateway_ns,
                   const std::vector<std::string>& namespaces, const std::stop_token& stop,
                   const std::stop_token& term) {
  kube::ListOptions listing;
  listing.ns = gateway_ns;
  listing.label_selector = std::string(kBudgetLabel) + "=true";
  listing.limit = 20;
  while (!stop.stop_requested() && !term.stop_requested()) {
    const auto page = client.list_page(resources::kConfigMaps, listing, stop);
    if (!page) {
      spdlog::warn("budgets: the ledgers cannot be listed: {}", page.error().text());
      return;
    }
    for (const Json& object : page->items)
      sweep_one(client, gateway_ns, namespaces, object, stop);
    if (page->continue_token.empty()) return;
    listing.continue_token = page->continue_token;
  }
}

}  // namespace palisade::gateway
