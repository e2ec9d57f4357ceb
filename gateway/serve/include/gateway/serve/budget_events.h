// Budgets whose refusals are told to people too, as Events on the workspace: a session whose budget
// is spent looks from outside like one that thinks.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include <gateway/core/services.h>

#include <kube/client.h>

namespace palisade::gateway {

// A Warning BudgetSpent that names the budget and when it renews, at most one in `every` for a
// workspace by this replica. Thread-safe; nobody waits for the API server.
class BudgetEvents final : public Budgets {
 public:
  static constexpr std::chrono::minutes kEvery{15};

  BudgetEvents(std::shared_ptr<Budgets> budgets, std::shared_ptr<const kube::Client> client,
               std::chrono::milliseconds every = kEvery);
  ~BudgetEvents() override;
  BudgetEvents(const BudgetEvents&) = delete;
  BudgetEvents& operator=(const BudgetEvents&) = delete;

  [[nodiscard]] Task<std::expected<std::unique_ptr<Reservation>, Refusal>> reserve(
      const Caller& caller, const Spent& estimate) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
