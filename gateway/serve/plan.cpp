// One exchange with the ledger, worked out on a copy of it.
#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>
#include <gateway/serve/purse.h>

#include "pots.h"

namespace palisade::gateway {

namespace {

// Calls' worth that is taken at first.
constexpr std::int64_t kTimes = 32;

std::int64_t times(std::int64_t amount, std::int64_t factor) {
  return amount > kMaxAmount / factor ? kMaxAmount : amount * factor;
}

std::string money(MicroDollars cost) {
  return fmt::format("{}.{:06d} US dollars", cost / 1'000'000, cost % 1'000'000);
}

Refusal used_up(const Ask& ask, bool of_namespace, const PotKind& kind, std::int64_t limit,
                std::int64_t left, std::int64_t wanted) {
  const bool tokens = kind.amount == &Spent::tokens;
  const auto shown = [&](std::int64_t value) {
    return tokens ? fmt::format("{} tokens", value) : money(value);
  };
  const std::string_view field = tokens ? "tokens" : "cost";
  const std::string ns = ask.name.substr(0, ask.name.find('/'));
  const std::string whose =
      of_namespace ? fmt::format("namespace {} may use {} a day (UTC)", ns, shown(limit))
                   : fmt::format("AgentWorkspace {} may use {}", ask.name, shown(limit));
  const std::string fix =
      of_namespace ? fmt::format(
                         "wait for the next day, or raise spec.llmBudget.perNamespace.{} of its "
                         "AgentPolicies",
                         tokens ? "tokensPerDay" : "costPerDay")
                   : fmt::format(
                         "ask for less, or raise spec.llm.budget.{} within what its AgentPolicies "
                         "and the gateway allow",
                         field);
  return {429, "budget_exceeded",
          fmt::format("{}, of which {} are left, and this request may take {}; {}", whose,
                      shown(std::max<std::int64_t>(left, 0)), shown(wanted), fix)};
}

Refusal too_fast(const Ask& ask, bool of_namespace, std::int64_t limit) {
  const std::string ns = ask.name.substr(0, ask.name.find('/'));
  return {429, "rate_limited",
          fmt::format("{} may make {} requests a minute, and they are made; try again in the next "
                      "minute",
                      of_namespace ? "namespace " + ns : "AgentWorkspace " + ask.name, limit)};
}

}  // namespace

// One exchange being worked out, on a copy of the ledger.
class Purse::Planner {
 public:
  Planner(Purse& purse, const Ledger& shared, const Moment& now, bool closing)
      : purse_(purse), now_(now), closing_(closing) {
    plan_.after = shared;
    plan_.made = now.steady;
    today_ = plan_.after.day(now.day);
  }

  void forget_gone() {
    for (const std::string& uid : purse_.gone_) {
      plan_.changed |= plan_.after.workspaces.erase(uid) > 0;
      plan_.forgotten.push_back(uid);
    }
  }

  // Debts are paid, and what is idle goes back.
  void tidy() {
    for (auto& one : purse_.workspaces_) {
      const std::string& uid = one.first;
      Workspace& workspace = one.second;
      if (purse_.gone_.contains(uid)) continue;
      tidy(
          workspace.account, [&] { return entry(uid, workspace.name); },
          closing_ || idle(*workspace.account));
    }
    for (auto& [day, account] : purse_.days_) {
      const auto found = plan_.after.days.find(day);
      Spent* kept = found == plan_.after.days.end() ? nullptr : &found->second;
      if (kept == nullptr) continue;  // so old that nobody counts it any more
      tidy(
          account, [&] { return kept; }, closing_ || day != now_.day || idle(*account));
    }
  }

  void answer(const Ask& ask) {
    auto given = answer_one(ask);
    plan_.refused |= !given.has_value();
    plan_.answers.push_back(std::move(given));
  }

  // Some of what is left beyond it, so that not each request has to wait for the ledger.
  void look_ahead() {
    for (Work& work : works_) {
      for (std::size_t i = 0; i < kKinds.size(); ++i) {
        const auto [needed, limit] = work.needed.at(i);
        std::int64_t& taken = work.entry->*kKinds.at(i).amount;
        if (needed == 0) continue;
        const Pace& pace = ((*work.account).*kKinds.at(i).pot).pace;
        const std::int64_t extra = ahead(pace, limit - taken, times(needed, kTimes));
        taken = plus(taken, extra);
        std::int64_t& moved = move(work).taken.*kKinds.at(i).amount;
        moved = plus(moved, extra);
        move(work).allotments.at(i) = extra;
      }
    }
    for (Drawn& drawn : drawn_) {
      Plan::Requests& requests = plan_.requests.at(drawn.index);
      if (requests.used == requests.from_held) continue;
      requests.taken = ahead(drawn.rate->pace, drawn.limit - drawn.window->requests,
                             times(requests.used, kTimes));
      requests.allotment = requests.taken;
      drawn.window->requests += requests.taken;
    }
  }

  // What runs low here is fetched before anybody has to wait for it.
  void refill() {
    if (closing_) return;
    for (auto& one : purse_.workspaces_) {
      const std::string& uid = one.first;
      Workspace& workspace = one.second;
      if (purse_.gone_.contains(uid)) continue;
      refill(workspace.account, [&] { return entry(uid, workspace.name); });
      const auto known = plan_.after.workspaces.find(uid);
      if (known != plan_.after.workspaces.end()) refill(uid, workspace.rate, known->second.window);
    }
    const auto today = purse_.days_.find(now_.day);
    if (today_ != nullptr && today != purse_.days_.end())
      refill(today->second, [&] { return today_; });
    refill("", purse_.rate_, plan_.after.window);
  }

  Plan take() { return std::move(plan_); }

 private:
  // What is done to one account in this exchange.
  struct Work {
    std::shared_ptr<Account> account;
    Spent* entry = nullptr;
    std::size_t index = 0;                                          // of plan_.moves
    std::array<std::pair<std::int64_t, std::int64_t>, 2> needed{};  // by kind: amount, limit
  };
  // And to one window.
  struct Drawn {
    Rate* rate = nullptr;
    Window* window = nullptr;
    std::int64_t limit = 0;
    std::size_t index = 0;  // of plan_.requests
  };

  [[nodiscard]] std::int64_t ahead(const Pace& pace, std::int64_t left, std::int64_t base) const {
    return std::clamp<std::int64_t>(left / kAhead, 0, pace.next(base, now_.steady));
  }

  template <class Entry>
  void refill(const std::shared_ptr<Account>& account, Entry entry_of) {
    if (idle(*account)) return;
    for (std::size_t i = 0; i < kKinds.size(); ++i) {
      const PotKind& kind = kKinds.at(i);
      const Pot& pot = (*account).*kind.pot;
      if (!pot.limit || !pot.pace.low(free_in(pot))) continue;
      Spent* entry = entry_of();
      if (entry == nullptr) return;
      Work& of = work(account, entry);
      // It was looked ahead of, or just given back, as its limit is lower now.
      if (of.needed.at(i).first != 0 || move(of).back.*kind.amount != 0) continue;
      const std::int64_t here = plus(free_in(pot), move(of).taken.*kind.amount);
      const std::int64_t left = std::max<std::int64_t>(0, *pot.limit - (*entry).*kind.amount);
      const std::int64_t wanted = ahead(pot.pace, plus(left, here), 1);
      const std::int64_t extra = std::clamp<std::int64_t>(plus(wanted, -here), 0, left);
      move(of).allotments.at(i) = wanted;
      if (extra == 0) continue;
      (*entry).*kind.amount = plus((*entry).*kind.amount, extra);
      std::int64_t& moved = move(of).taken.*kind.amount;
      moved = plus(moved, extra);
      plan_.changed = true;
    }
  }

  void refill(const std::string& uid, Rate& rate, Window& shared) {
    if (!rate.limit || !rate.pace.low(rate.held) || rate.minute != shared.minute ||
        is_over(rate.minute, rate.seen, now_) ||
        std::ranges::find(drawn_, &rate, &Drawn::rate) != drawn_.end())
      return;
    const Drawn& drawn = window(uid, rate, shared, *rate.limit);
    Plan::Requests& requests = plan_.requests.at(drawn.index);
    const std::int64_t left = std::max<std::int64_t>(0, drawn.limit - shared.requests);
    const std::int64_t wanted = ahead(rate.pace, plus(left, rate.held), 1);
    requests.allotment = wanted;
    requests.taken = std::clamp<std::int64_t>(wanted - rate.held, 0, left);
    if (requests.taken == 0) return;
    shared.requests += requests.taken;
    plan_.changed = true;
  }

  [[nodiscard]] bool idle(const Account& account) const {
    return now_.steady - account.used >= kIdle;
  }

  Plan::Move& move(const Work& work) { return plan_.moves.at(work.index); }

  Work& work(const std::shared_ptr<Account>& account, Spent* entry) {
    const auto known = std::ranges::find(works_, account, &Work::account);
    if (known != works_.end()) return *known;
    plan_.moves.push_back({account, {}, {}, {}, false, {}});
    works_.push_back({account, entry, plan_.moves.size() - 1, {}});
    return works_.back();
  }

  // nullptr where the ledger has no room for another workspace.
  Spent* entry(const std::string& uid, const std::string& name) {
    LedgerEntry* found = ledger_entry(uid, name);
    return found == nullptr ? nullptr : &found->taken;
  }
  LedgerEntry* ledger_entry(const std::string& uid, const std::string& name) {
    const auto found = plan_.after.workspaces.find(uid);
    if (found != plan_.after.workspaces.end()) return &found->second;
    if (plan_.after.workspaces.size() >= Ledger::kMaxWorkspaces) return nullptr;
    LedgerEntry& made = plan_.after.workspaces[uid];
    made.name = name.substr(name.find('/') + 1);
    plan_.changed = true;
    return &made;
  }

  template <class Entry>
  void tidy(const std::shared_ptr<Account>& account, Entry entry_of, bool give_back) {
    for (const PotKind& kind : kKinds) {
      Pot& pot = (*account).*kind.pot;
      const bool owes = pot.held < 0;
      const bool has = give_back && free_in(pot) > 0;
      if (!owes && !has) continue;
      Spent* entry = entry_of();
      if (entry == nullptr) return;
      Work& done = work(account, entry);
      if (owes) {
        move(done).paid.*kind.amount = -pot.held;
        (*entry).*kind.amount = plus((*entry).*kind.amount, -pot.held);
        pot.held = 0;
        plan_.changed = true;
      } else {
        return_free(done, kind);
      }
    }
  }

  void return_free(Work& done, const PotKind& kind) {
    Pot& pot = (*done.account).*kind.pot;
    const std::int64_t back = free_in(pot);
    if (back <= 0) return;
    std::int64_t& taken = (*done.entry).*kind.amount;
    taken = std::max<std::int64_t>(0, taken - back);
    pot.held -= back;
    std::int64_t& moved = move(done).back.*kind.amount;
    moved = plus(moved, back);
    plan_.changed = true;
  }

  // What has to come from the ledger for one ask, beyond what is free here.
  std::int64_t shortage(Work& of, const PotKind& kind, std::int64_t wanted) {
    const std::int64_t here = plus(free_in((*of.account).*kind.pot), move(of).taken.*kind.amount);
    return std::max<std::int64_t>(0, plus(wanted, -here));
  }

  std::optional<Refusal> lacks(Work& of, const Ask& ask, const Budget& budget, bool of_namespace) {
    for (const PotKind& kind : kKinds) {
      const auto& limit = budget.*kind.limit;
      if (!limit) continue;
      Pot& pot = (*of.account).*kind.pot;
      if (!pot.limit || *limit < *pot.limit) return_free(of, kind);
      pot.limit = limit;
      const std::int64_t wanted = need(ask.estimate.*kind.amount);
      const std::int64_t left = plus(*limit, -((*of.entry).*kind.amount));
      const std::int64_t missing = shortage(of, kind, wanted);
      if (missing > std::max<std::int64_t>(left, 0))
        return used_up(ask, of_namespace, kind, *limit, plus(left, wanted - missing), wanted);
    }
    return std::nullopt;
  }

  void draw(Work& of, const Ask& ask, const Budget& budget) {
    for (std::size_t i = 0; i < kKinds.size(); ++i) {
      const PotKind& kind = kKinds.at(i);
      const auto& limit = budget.*kind.limit;
      if (!limit) continue;
      const std::int64_t missing = shortage(of, kind, need(ask.estimate.*kind.amount));
      if (missing == 0) continue;
      std::int64_t& taken = (*of.entry).*kind.amount;
      taken = plus(taken, missing);
      std::int64_t& moved = move(of).taken.*kind.amount;
      moved = plus(moved, missing);
      auto& [needed, bound] = of.needed.at(i);
      bound = needed == 0 ? *limit : std::min(bound, *limit);
      needed = plus(needed, missing);
      plan_.changed = true;
    }
    set_aside(*of.account, ask.estimate, now_);
  }

  // The window as it is now, in the ledger and here.
  Drawn& window(const std::string& uid, Rate& rate, Window& shared, std::int64_t limit) {
    const auto known = std::ranges::find(drawn_, &rate, &Drawn::rate);
    if (known != drawn_.end()) {
      known->limit = limit;
      return *known;
    }
    if (shared.minute != rate.minute) {  // what is held is of a minute that is over
      rate = {shared.minute, 0, rate.limit, now_.steady, rate.pace};
    }
    auto seen = rate.seen;
    if (is_over(shared.minute, rate.seen, now_)) {
      shared = {std::max(now_.minute, shared.minute + 1), 0};
      rate.held = 0;
      seen = now_.steady;
    }
    plan_.requests.push_back({uid, 0, 0, 0, 0, shared.minute, seen, limit, false, {}});
    drawn_.push_back({&rate, &shared, limit, plan_.requests.size() - 1});
    Drawn& made = drawn_.back();
    if (rate.limit && limit < *rate.limit && rate.held > 0) {
      shared.requests = std::max<std::int64_t>(0, shared.requests - rate.held);
      plan_.requests.back().back = std::exchange(rate.held, 0);
      plan_.requests.back().asked = true;
      plan_.changed = true;
    }
    return made;
  }

  static bool has_room(const Drawn& drawn) {
    return drawn.rate->held > 0 || drawn.window->requests < drawn.limit;
  }
  void count(Drawn& drawn) {
    Plan::Requests& requests = plan_.requests.at(drawn.index);
    ++requests.used;
    requests.asked = true;
    if (drawn.rate->held > 0) {
      --drawn.rate->held;
      ++requests.from_held;
    } else {
      ++drawn.window->requests;
      plan_.changed = true;
    }
  }

  std::expected<Hold, Refusal> answer_one(const Ask& ask) {
    if (today_ == nullptr) {
      return std::unexpected(
          Refusal{503, "budget_unknown",
                  "the gateway's clock says " + day_text(now_.day) +
                      ", and budgets are counted in later days only: one of the replicas' clocks "
                      "is wrong; put it right, or remove the days from ConfigMap "
                      "palisade-budget-NAMESPACE that are not over"});
    }
    LedgerEntry* of = ledger_entry(ask.uid, ask.name);
    if (of == nullptr) {
      return std::unexpected(
          Refusal{503, "budget_unknown",
                  fmt::format("the namespace's ledger holds {} AgentWorkspaces and has no room for "
                              "another; delete some that have ended",
                              Ledger::kMaxWorkspaces)});
    }
    Workspace& workspace = purse_.workspaces_[ask.uid];
    workspace.name = ask.name;
    auto& day = purse_.days_[now_.day];
    if (!day) day = std::make_shared<Account>();
    move(work(workspace.account, &of->taken)).asked = true;
    move(work(day, today_)).asked = true;
    // By look-up, as the second may have moved the first.
    if (auto refusal = lacks(work(workspace.account, &of->taken), ask, ask.workspace, false))
      return std::unexpected(std::move(*refusal));
    if (auto refusal = lacks(work(day, today_), ask, ask.ns, true))
      return std::unexpected(std::move(*refusal));
    const auto& own_limit = ask.workspace.requests_per_minute;
    const auto& common_limit = ask.ns.requests_per_minute;
    if (own_limit && !has_room(window(ask.uid, workspace.rate, of->window, *own_limit)))
      return std::unexpected(too_fast(ask, false, *own_limit));
    if (common_limit && !has_room(window("", purse_.rate_, plan_.after.window, *common_limit)))
      return std::unexpected(too_fast(ask, true, *common_limit));

    draw(work(workspace.account, &of->taken), ask, ask.workspace);
    draw(work(day, today_), ask, ask.ns);
    if (own_limit) count(window(ask.uid, workspace.rate, of->window, *own_limit));
    if (common_limit) count(window("", purse_.rate_, plan_.after.window, *common_limit));
    return Hold{workspace.account, day, ask.estimate, false};
  }

  Purse& purse_;
  const Moment now_;
  const bool closing_;
  Plan plan_;
  Spent* today_ = nullptr;
  std::vector<Work> works_;
  std::vector<Drawn> drawn_;
};

Purse::Plan Purse::plan(const Ledger& shared, std::span<const Ask> asks, const Moment& now,
                        bool closing) {
  Planner planner(*this, shared, now, closing);
  planner.forget_gone();
  planner.tidy();
  for (const Ask& ask : asks)
    planner.answer(ask);
  planner.look_ahead();
  planner.refill();
  return planner.take();
}

}  // namespace palisade::gateway
