#include <map>
#include <mutex>
#include <string>
#include <utility>

#include <gateway/serve/budget_events.h>

#include <kube/daemon.h>
#include <kube/events.h>

namespace palisade::gateway {

namespace {

using std::chrono::steady_clock;

// Workspaces that were told lately. Beyond it none is until those are old: nothing depends on it.
constexpr std::size_t kMostTold = 4096;

}  // namespace

struct BudgetEvents::Impl {
  Impl(std::shared_ptr<Budgets> b, std::shared_ptr<const kube::Client> client,
       std::chrono::milliseconds e)
      : budgets(std::move(b)),
        every(e),
        events(std::move(client), "palisade.dev/gateway", kube::host_name()) {}

  [[nodiscard]] bool due(const std::string& uid) {
    const auto now = steady_clock::now();
    const std::scoped_lock lock(mutex);
    if (const auto found = told.find(uid); found != told.end()) {
      if (now - found->second < every) return false;
      found->second = now;
      return true;
    }
    if (told.size() >= kMostTold)
      std::erase_if(told, [&](const auto& one) { return now - one.second >= every; });
    return told.size() < kMostTold && told.emplace(uid, now).second;
  }

  void tell(const Caller& caller, const Refusal& refusal) {
    if (!due(caller.workspace_uid)) return;
    const kube::Json regarding{
        {"apiVersion", "palisade.dev/v1alpha1"},
        {"kind", "AgentWorkspace"},
        {"metadata",
         {{"namespace", caller.ns}, {"name", caller.workspace}, {"uid", caller.workspace_uid}}}};
    // A namespace's message says that it is a day's.
    const bool of_namespace = refusal.message.starts_with("namespace ");
    events.record(
        regarding, kube::EventType::kWarning, "BudgetSpent", "AskingModel",
        refusal.message +
            (of_namespace ? "" : "; this budget is for its whole life and does not renew"));
  }

  const std::shared_ptr<Budgets> budgets;
  const std::chrono::milliseconds every;
  std::mutex mutex;
  std::map<std::string, steady_clock::time_point> told;
  kube::EventRecorder events;
};

BudgetEvents::BudgetEvents(std::shared_ptr<Budgets> budgets,
                           std::shared_ptr<const kube::Client> client,
                           std::chrono::milliseconds every)
    : impl_(std::make_unique<Impl>(std::move(budgets), std::move(client), every)) {}

BudgetEvents::~BudgetEvents() = default;

Task<std::expected<std::unique_ptr<Reservation>, Refusal>> BudgetEvents::reserve(
    const Caller& caller, const Spent& estimate) {
  auto out = co_await impl_->budgets->reserve(caller, estimate);
  if (!out && out.error().code == "budget_exceeded") impl_->tell(caller, out.error());
  co_return out;
}

}  // namespace palisade::gateway
