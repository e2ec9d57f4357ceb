#include <algorithm>
#include <utility>

#include <gateway/serve/purse.h>

#include "pots.h"

namespace palisade::gateway {

namespace {

using std::chrono::steady_clock;

void put_back(Purse::Account& account, const Spent& amount) {
  for (const PotKind& kind : kKinds) {
    Purse::Pot& pot = account.*kind.pot;
    pot.reserved = plus(pot.reserved, -(amount.*kind.amount));
  }
}

}  // namespace

std::int64_t Purse::Pace::next(std::int64_t base, steady_clock::time_point now) const {
  constexpr std::chrono::seconds kSoon{1};
  constexpr std::chrono::seconds kLong{4};
  constexpr std::int64_t kGrowth = 4;
  if (allotment <= 0) return base;
  const auto lasted = now - taken;
  if (lasted > kLong) return std::max(base, allotment / 2);
  if (lasted >= kSoon) return std::max(base, allotment);
  return std::max(base, allotment > kMaxAmount / kGrowth ? kMaxAmount : allotment * kGrowth);
}

Moment Moment::at(std::chrono::system_clock::time_point wall, steady_clock::time_point steady) {
  const auto since = wall.time_since_epoch();
  return {std::chrono::floor<std::chrono::minutes>(since).count(),
          std::chrono::floor<std::chrono::days>(since).count(), steady};
}

Moment Moment::now() {
  return at(std::chrono::system_clock::now(), steady_clock::now());
}

std::optional<Purse::Hold> Purse::take(const Ask& ask, const Moment& now) {
  static const Workspace kNone;
  static const Account kNothing;
  const auto known = workspaces_.find(ask.uid);
  const auto today = days_.find(now.day);
  const Workspace& of = known == workspaces_.end() ? kNone : known->second;
  const Account& day = today == days_.end() ? kNothing : *today->second;
  for (const auto& [account, budget] :
       {std::pair<const Account*, const Budget*>{of.account.get(), &ask.workspace},
        {&day, &ask.ns}}) {
    for (const PotKind& kind : kKinds) {
      const auto& limit = budget->*kind.limit;
      const Pot& pot = account->*kind.pot;
      if (!limit) continue;
      if (!pot.limit || *limit < *pot.limit || need(ask.estimate.*kind.amount) > free_in(pot))
        return std::nullopt;
    }
  }
  for (const auto& [rate, budget] :
       {std::pair<const Rate*, const Budget*>{&of.rate, &ask.workspace}, {&rate_, &ask.ns}}) {
    const auto& limit = budget->requests_per_minute;
    if (!limit) continue;
    if (rate->held < 1 || !rate->limit || *limit < *rate->limit ||
        is_over(rate->minute, rate->seen, now))
      return std::nullopt;
  }
  Workspace& workspace = workspaces_[ask.uid];
  workspace.name = ask.name;
  auto& account = days_[now.day];
  if (!account) account = std::make_shared<Account>();
  if (ask.workspace.requests_per_minute) --workspace.rate.held;
  if (ask.ns.requests_per_minute) --rate_.held;
  set_aside(*workspace.account, ask.estimate, now);
  set_aside(*account, ask.estimate, now);
  Hold out{workspace.account, account, ask.estimate, false};
  for (const auto& [of_account, budget] :
       {std::pair<const Account*, const Budget*>{workspace.account.get(), &ask.workspace},
        {account.get(), &ask.ns}}) {
    for (const PotKind& kind : kKinds) {
      const Pot& pot = of_account->*kind.pot;
      out.low |= budget->*kind.limit && pot.pace.low(free_in(pot));
    }
  }
  out.low |= ask.workspace.requests_per_minute && workspace.rate.pace.low(workspace.rate.held);
  out.low |= ask.ns.requests_per_minute && rate_.pace.low(rate_.held);
  return out;
}

void Purse::settle(const Hold& hold, const Spent& spent, const Moment& now) {
  release(hold);
  for (Account* account : {hold.workspace.get(), hold.day.get()}) {
    for (const PotKind& kind : kKinds) {
      Pot& pot = account->*kind.pot;
      pot.held = plus(pot.held, -(spent.*kind.amount));
    }
    account->used = now.steady;
  }
}

void Purse::release(const Hold& hold) {
  put_back(*hold.workspace, hold.amount);
  put_back(*hold.day, hold.amount);
}

void Purse::forget(const std::string& uid) {
  const auto known = workspaces_.find(uid);
  if (known != workspaces_.end()) {
    known->second.account->gone = true;
    workspaces_.erase(known);
  }
  gone_.insert(uid);
}

bool Purse::settled() const {
  const auto quiet = [](const Account& account) {
    return std::ranges::all_of(kKinds, [&](const PotKind& kind) {
      const Pot& pot = account.*kind.pot;
      return pot.held >= 0 && free_in(pot) <= 0;
    });
  };
  return gone_.empty() &&
         std::ranges::all_of(workspaces_,
                             [&](const auto& one) { return quiet(*one.second.account); }) &&
         std::ranges::all_of(days_, [&](const auto& one) { return quiet(*one.second); });
}

void Purse::commit(const Plan& plan) {
  for (const Plan::Move& move : plan.moves) {
    for (std::size_t i = 0; i < kKinds.size(); ++i) {
      Pot& pot = (*move.account).*kKinds.at(i).pot;
      pot.held = plus(pot.held, move.taken.*kKinds.at(i).amount);
      if (move.allotments.at(i)) pot.pace = {*move.allotments.at(i), plan.made};
    }
  }
  for (const Plan::Requests& requests : plan.requests) {
    const auto known = workspaces_.find(requests.uid);
    if (!requests.uid.empty() && known == workspaces_.end()) continue;  // gone meanwhile
    Rate& rate = requests.uid.empty() ? rate_ : known->second.rate;
    if (rate.minute != requests.minute) rate = {requests.minute, 0, {}, requests.seen, rate.pace};
    rate.held += requests.taken;
    rate.limit = requests.limit;
    if (requests.allotment) rate.pace = {*requests.allotment, plan.made};
  }
  for (const std::string& uid : plan.forgotten)
    gone_.erase(uid);
  const auto done = [](const std::shared_ptr<Account>& account) {
    return account.use_count() == 1 && std::ranges::all_of(kKinds, [&](const PotKind& kind) {
             return ((*account).*kind.pot).held == 0;
           });
  };
  std::erase_if(workspaces_, [&](const auto& one) {
    return done(one.second.account) && one.second.rate.held == 0;
  });
  std::erase_if(days_, [&](const auto& one) { return done(one.second); });
}

void Purse::undo(const Plan& plan, bool unknown) {
  for (const Plan::Move& move : plan.moves) {
    for (const PotKind& kind : kKinds) {
      Pot& pot = (*move.account).*kind.pot;
      pot.held = plus(pot.held, -(move.paid.*kind.amount));
      if (!unknown) pot.held = plus(pot.held, move.back.*kind.amount);
      if (move.asked) pot.limit.reset();  // it may have been taken under another than this plan's
    }
  }
  for (const auto& answer : plan.answers) {
    if (answer) release(*answer);
  }
  for (const Plan::Requests& requests : plan.requests) {
    const auto known = workspaces_.find(requests.uid);
    if (!requests.uid.empty() && known == workspaces_.end()) continue;
    Rate& rate = requests.uid.empty() ? rate_ : known->second.rate;
    if (rate.minute != requests.minute) continue;
    rate.held += requests.from_held;
    if (!unknown) rate.held += requests.back;
    if (requests.asked) rate.limit.reset();
  }
}

}  // namespace palisade::gateway
