#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include <gateway/serve/budgets.h>
#include <gateway/serve/ledger.h>
#include <gateway/serve/purse.h>
#include <spdlog/spdlog.h>

#include <kube/workqueue.h>

#include "stored.h"
#include "wakeup.h"

namespace palisade::gateway {

namespace {

using kube::Json;
using std::chrono::steady_clock;
namespace resources = kube::resources;

// Of one exchange against other replicas; as a rule Options::patience ends it long before.
constexpr int kAttempts = 200;
// What was read no longer ago decides that a request is refused.
constexpr std::chrono::milliseconds kFresh{500};
// Until more is fetched ahead after the ledger could not be had.
constexpr std::chrono::milliseconds kAfterFailure{500};
// Of a single call: more is nonsense, and sums of it must not run over.
constexpr std::int64_t kMostOfOne = 1'000'000'000'000'000;

Spent bounded(const Spent& amount) {
  return {std::clamp<std::int64_t>(amount.tokens, 0, kMostOfOne),
          std::clamp<std::int64_t>(amount.cost, 0, kMostOfOne)};
}

Refusal unknown_now(const std::string& ns) {
  return {503, "budget_unknown",
          "the budgets of namespace " + ns +
              " cannot be told right now, as the API server does not take the gateway's ledger; "
              "try again in a moment"};
}

// What can be said of a call that failed: whether it changed nothing, for certain.
bool changed_nothing(const kube::Error& error) {
  return error.code >= 400 && error.code < 500;
}

}  // namespace

struct KubeBudgets::Impl {
  struct Waiter {
    Ask ask;
    Wakeup signal;
    std::optional<std::expected<Purse::Hold, Refusal>> answer;
    bool abandoned = false;
  };
  // What this replica knows and holds of one namespace.
  struct Room {
    const std::string ns;
    std::mutex mutex;
    Purse purse;
    std::deque<std::shared_ptr<Waiter>> waiting;
    std::string said;        // the same trouble is said once
    bool fetching = false;   // somebody has asked for more ahead
    bool scheduled = false;  // an exchange is to come by itself
    steady_clock::time_point failed;
    // Used by the one thread that exchanges for this namespace.
    std::optional<Stored> known;
    // For others: who is in the ledger, as far as this replica has seen.
    std::set<std::string, std::less<>> entries;

    explicit Room(std::string name) : ns(std::move(name)) {}
  };
  // Nobody waits for the answer any more.
  class Waiting;
  class Held;

  Impl(std::shared_ptr<const kube::Client> c, BudgetsOptions o)
      : client(std::move(c)), options(std::move(o)) {}

  std::shared_ptr<Room> room(std::string_view ns) {
    const std::scoped_lock lock(mutex);
    const auto found = rooms.find(ns);
    if (found != rooms.end()) return found->second;
    return rooms.emplace(std::string(ns), std::make_shared<Room>(std::string(ns))).first->second;
  }

  void run(const std::stop_token& stop) {
    while (const auto key = queue.get(stop)) {
      if (key->empty()) {
        if (!options.term) {
          sweep_ledgers(*client, options.ns, options.namespaces, stop, {});
        } else if (const auto leading = options.term()) {
          sweep_ledgers(*client, options.ns, options.namespaces, stop, *leading);
        }
        queue.done(*key);
        queue.add_after({}, options.sweep);
        continue;
      }
      const auto here = room(*key);
      {
        const std::scoped_lock lock(here->mutex);
        here->scheduled = false;
      }
      const bool done = exchange(*here, false, stop);
      bool more = false;
      bool asked = false;
      {
        const std::scoped_lock lock(here->mutex);
        more = !here->purse.settled();
        asked = !here->waiting.empty();
        here->scheduled = more || !done;
      }
      queue.done(*key);
      if (asked) queue.add(*key);
      if (!done) {
        queue.add_rate_limited(*key);
      } else {
        queue.forget(*key);
        if (more) queue.add_after(*key, options.flush);
      }
    }
  }

  // One thread at a time for a namespace. False where the ledger could not be had: whoever waited
  // has been refused.
  bool exchange(Room& room, bool closing, const std::stop_token& stop) {
    const auto deadline = steady_clock::now() + options.patience;
    bool read_now = false;
    for (int attempt = 0; attempt < kAttempts && steady_clock::now() < deadline; ++attempt) {
      if (attempt > 0) pause(stop);
      if (stop.stop_requested()) break;
      if (!room.known) {
        auto read = load(room, stop);
        if (!read) return fail(room, read.error());
        room.known = std::move(*read);
        read_now = true;
      }
      std::vector<std::shared_ptr<Waiter>> asking;
      Purse::Plan plan = begin(room, asking, closing);
      if (!plan.changed) {
        if (plan.refused && !read_now && steady_clock::now() - room.known->read > kFresh) {
          undo(room, plan, false);
          room.known.reset();
          continue;
        }
        finish(room, plan, asking);
        return true;
      }
      const auto written = store(room, plan.after, stop);
      if (written) {
        ++writes;
        room.known = Stored{plan.after, version_of(*written), steady_clock::now()};
        finish(room, plan, asking);
        return true;
      }
      room.known.reset();
      const kube::Error& error = written.error();
      undo(room, plan, !changed_nothing(error));
      if (!changed_nothing(error)) ++unknown;
      if (error.code != 409 && error.code != 404) return fail(room, error.text());
      ++conflicts;
    }
    return fail(room, stop.stop_requested() ? "ending" : "other replicas were always faster");
  }

  static void pause(const std::stop_token& stop) {
    thread_local std::mt19937 random{std::random_device{}()};
    std::mutex alone;
    std::condition_variable_any never;
    std::unique_lock lock(alone);
    never.wait_for(lock, stop,
                   std::chrono::milliseconds(std::uniform_int_distribution<int>(1, 30)(random)),
                   [] { return false; });
  }

  std::expected<Stored, std::string> load(const Room& room, const std::stop_token& stop) {
    const auto object =
        client->get(resources::kConfigMaps, options.ns, configmap_name(room.ns), stop);
    if (!object) {
      if (object.error().is_not_found()) return Stored{{}, "", steady_clock::now()};
      return std::unexpected(object.error().text());
    }
    return stored(*object);
  }

  kube::Result<Json> store(const Room& room, const Ledger& ledger, const std::stop_token& stop) {
    if (room.known->version.empty()) {
      return client->create(resources::kConfigMaps, options.ns,
                            {{"apiVersion", "v1"},
                             {"kind", "ConfigMap"},
                             {"metadata",
                              {{"name", configmap_name(room.ns)},
                               {"namespace", options.ns},
                               {"labels",
                                {{std::string(kBudgetLabel), "true"},
                                 {"app.kubernetes.io/managed-by", "palisade-gateway"}}}}},
                             {"data", {{kLedgerKey, ledger.dump()}}}},
                            stop);
    }
    // A patch, as transports send a PUT again where its connection ends: giving back twice would
    // make the budget larger.
    return client->patch(resources::kConfigMaps, options.ns, configmap_name(room.ns),
                         kube::PatchType::kMerge,
                         {{"metadata", {{"resourceVersion", room.known->version}}},
                          {"data", {{kLedgerKey, ledger.dump()}}}},
                         "", stop);
  }

  static Purse::Plan begin(Room& room, std::vector<std::shared_ptr<Waiter>>& asking, bool closing) {
    const std::scoped_lock lock(room.mutex);
    std::erase_if(room.waiting, [](const auto& one) { return one->abandoned; });
    std::vector<Ask> asks;
    for (const auto& one : room.waiting) {
      asking.push_back(one);
      asks.push_back(one->ask);
    }
    return room.purse.plan(room.known->ledger, asks, Moment::now(), closing);
  }

  static void undo(Room& room, const Purse::Plan& plan, bool unknown) {
    const std::scoped_lock lock(room.mutex);
    room.purse.undo(plan, unknown);
  }

  void finish(Room& room, const Purse::Plan& plan,
              const std::vector<std::shared_ptr<Waiter>>& asking) {
    std::vector<std::shared_ptr<Waiter>> woken;
    {
      const std::scoped_lock lock(room.mutex);
      room.purse.commit(plan);
      room.fetching = false;
      room.entries.clear();
      for (const auto& [uid, entry] : plan.after.workspaces)
        room.entries.insert(uid);
      for (std::size_t i = 0; i < asking.size(); ++i) {
        const auto& one = asking[i];
        std::erase(room.waiting, one);
        const auto& answer = plan.answers.at(i);
        if (!one->abandoned) {
          one->answer = answer;
          woken.push_back(one);
        } else if (answer) {
          Purse::release(*answer);
        }
      }
      if (!room.said.empty()) spdlog::info("budgets of namespace {}: told again", room.ns);
      room.said.clear();
    }
    for (const auto& one : woken)
      one->signal.set();
  }

  bool fail(Room& room, const std::string& why) {
    ++failures;
    std::deque<std::shared_ptr<Waiter>> refused;
    {
      const std::scoped_lock lock(room.mutex);
      refused.swap(room.waiting);
      room.fetching = false;
      room.failed = steady_clock::now();
      for (const auto& one : refused)
        one->answer = std::unexpected(unknown_now(room.ns));
      if (room.said != why)
        spdlog::warn("budgets of namespace {}: ConfigMap {}: {}", room.ns, configmap_name(room.ns),
                     why);
      room.said = why;
    }
    for (const auto& one : refused)
      one->signal.set();
    return false;
  }

  const std::shared_ptr<const kube::Client> client;
  const BudgetsOptions options;
  kube::WorkQueue queue{{std::chrono::milliseconds(200), std::chrono::milliseconds(10'000)}};
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<Room>, std::less<>> rooms;
  std::atomic<bool> ending{false};
  std::atomic<std::uint64_t> writes{0}, conflicts{0}, unknown{0}, failures{0}, waits{0};
  std::vector<std::jthread> threads;
};

// Owned by the coroutine that waits, which may be destroyed at any time.
class KubeBudgets::Impl::Waiting {
 public:
  Waiting(std::shared_ptr<Room> room, std::shared_ptr<Waiter> waiter)
      : room_(std::move(room)), waiter_(std::move(waiter)) {}
  ~Waiting() {
    const std::scoped_lock lock(room_->mutex);
    waiter_->abandoned = true;
    if (waiter_->answer && *waiter_->answer) Purse::release(**waiter_->answer);
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  // The caller's from here on; nullopt where there is none.
  [[nodiscard]] std::optional<std::expected<Purse::Hold, Refusal>> take() {
    const std::scoped_lock lock(room_->mutex);
    waiter_->abandoned = true;
    return std::exchange(waiter_->answer, std::nullopt);
  }

 private:
  const std::shared_ptr<Room> room_;
  const std::shared_ptr<Waiter> waiter_;
};

class KubeBudgets::Impl::Held : public Reservation {
 public:
  Held(Impl& impl, std::shared_ptr<Room> room, Purse::Hold hold)
      : impl_(impl), room_(std::move(room)), hold_(std::move(hold)) {}
  ~Held() override {
    if (!hold_) return;
    const std::scoped_lock lock(room_->mutex);
    Purse::release(*hold_);
    schedule();
  }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  void settle(const Spent& spent) override {
    const std::scoped_lock lock(room_->mutex);
    if (!hold_) return;
    Purse::settle(*hold_, bounded(spent), Moment::now());
    hold_.reset();
    schedule();
  }

 private:
  void schedule() {
    if (room_->scheduled || room_->purse.settled()) return;
    room_->scheduled = true;
    impl_.queue.add_after(room_->ns, impl_.options.flush);
  }

  Impl& impl_;
  const std::shared_ptr<Room> room_;
  std::optional<Purse::Hold> hold_;
};

KubeBudgets::KubeBudgets(std::shared_ptr<const kube::Client> client, BudgetsOptions options)
    : impl_(std::make_unique<Impl>(std::move(client), std::move(options))) {}

KubeBudgets::~KubeBudgets() {
  impl_->ending = true;
  impl_->queue.shut_down();
  impl_->threads.clear();
}

void KubeBudgets::start() {
  for (int i = 0; i < impl_->options.threads; ++i)
    impl_->threads.emplace_back([this](const std::stop_token& stop) { impl_->run(stop); });
  // Not all replicas at once, and not while everything else starts.
  impl_->queue.add_after({}, std::min(impl_->options.sweep, std::chrono::milliseconds(60'000)));
}

void KubeBudgets::stop(std::chrono::milliseconds patience) {
  const auto deadline = steady_clock::now() + patience;
  impl_->ending = true;
  impl_->queue.shut_down();
  // Not stopped: of a write that is cut off nobody knows how it ended.
  for (auto& thread : impl_->threads)
    thread.join();
  impl_->threads.clear();
  std::vector<std::shared_ptr<Impl::Room>> rooms;
  {
    const std::scoped_lock lock(impl_->mutex);
    for (const auto& [ns, room] : impl_->rooms)
      rooms.push_back(room);
  }
  for (const auto& room : rooms) {
    if (steady_clock::now() >= deadline) {
      spdlog::warn("budgets: no time is left to give back what is held; it counts as spent");
      return;
    }
    impl_->exchange(*room, true, {});
  }
}

Task<std::expected<std::unique_ptr<Reservation>, Refusal>> KubeBudgets::reserve(
    const Caller& caller, const Spent& estimate) {
  Impl& impl = *impl_;
  Ask ask{caller.workspace_uid, caller.ns + "/" + caller.workspace, caller.grant->workspace_budget,
          caller.grant->namespace_budget, bounded(estimate)};
  const auto room = impl.room(caller.ns);
  std::shared_ptr<Impl::Waiter> waiter;
  std::optional<Purse::Hold> held;
  bool fetch = false;
  std::optional<Refusal> refusal;
  {
    const std::scoped_lock lock(room->mutex);
    if (impl.ending) {
      refusal = Refusal{503, "ending", "this replica of the gateway is ending; try again"};
    } else if (held = room->purse.take(ask, Moment::now()); held) {
      // Nobody else is asked; before that is needed, more is fetched, and nobody waits for it.
      fetch = held->low && !room->fetching && steady_clock::now() - room->failed > kAfterFailure;
      room->fetching |= fetch;
    } else if (room->waiting.size() >= impl.options.max_waiting) {
      refusal = unknown_now(caller.ns);
    } else {
      waiter = std::make_shared<Impl::Waiter>();
      waiter->ask = std::move(ask);
      room->waiting.push_back(waiter);
    }
  }
  if (refusal) co_return std::unexpected(std::move(*refusal));
  if (fetch) impl.queue.add(room->ns);
  if (!held) {
    ++impl.waits;
    Impl::Waiting waiting(room, waiter);
    impl.queue.add(room->ns);
    static_cast<void>(co_await waiter->signal.wait(impl.options.patience));
    auto answer = waiting.take();
    if (!answer) co_return std::unexpected(unknown_now(caller.ns));
    if (!*answer) co_return std::unexpected(std::move(answer->error()));
    held = std::move(**answer);
  }
  std::unique_ptr<Reservation> out = std::make_unique<Impl::Held>(impl, room, std::move(*held));
  co_return out;
}

void KubeBudgets::forget(std::string_view ns, std::string_view uid) {
  std::shared_ptr<Impl::Room> room;
  {
    const std::scoped_lock lock(impl_->mutex);
    const auto found = impl_->rooms.find(ns);
    if (found == impl_->rooms.end()) return;  // the sweep finds what others have written
    room = found->second;
  }
  {
    const std::scoped_lock lock(room->mutex);
    if (!room->entries.contains(uid)) return;
    room->purse.forget(std::string(uid));
  }
  impl_->queue.add_after(room->ns, impl_->options.flush);
}

BudgetCounters KubeBudgets::counters() const {
  return {impl_->writes, impl_->conflicts, impl_->unknown, impl_->failures, impl_->waits};
}

}  // namespace palisade::gateway
