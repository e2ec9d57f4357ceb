#include "kube/leader.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <kube/micro_time.h>

#include "json_access.h"

namespace kube {

namespace {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::milliseconds;

// A candidate's pause is drawn between a retry_period and this much longer.
constexpr double kJitter = 1.2;
// No record makes a candidate wait longer, whatever it says.
constexpr std::int64_t kMaxDurationSeconds = 3600;

std::int64_t number_at(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

Json member(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : Json::object();
}

void check(const LeaderOptions& options) {
  if (options.ns.empty() || options.name.empty() || options.identity.empty())
    throw std::invalid_argument("leader election: ns, name and identity must be given");
  if (options.retry_period <= Millis(0) || options.renew_deadline <= options.retry_period * kJitter)
    throw std::invalid_argument("leader election: renew_deadline must exceed 1.2 * retry_period");
  if (options.lease_duration <= options.renew_deadline)
    throw std::invalid_argument("leader election: lease_duration must exceed renew_deadline");
}

}  // namespace

std::string unique_identity(std::string_view name) {
  std::random_device device;
  return fmt::format("{}_{:08x}{:08x}", name, device(), device());
}

struct LeaderElector::Impl {
  std::shared_ptr<const Client> client;
  LeaderOptions options;
  LeaderCallbacks callbacks;

  // A stop_source that the timer's thread stops when its time has come.
  struct Timed {
    std::stop_source source;
    Clock::time_point deadline;
  };
  mutable std::mutex mutex;
  std::condition_variable_any changed;
  std::optional<Timed> term;     // while this process leads
  std::optional<Timed> attempt;  // while calls are under way
  std::string holder;
  std::string error;

  // Only the elector's thread touches what follows.
  Json observed;  // the Lease as it was last read or written; null: never seen
  Clock::time_point observed_at;
  bool uncertain = false;  // a write of ours got no answer: it may have been done
  std::string told_leader;
  std::minstd_rand random{std::random_device{}()};

  std::jthread timer;
  std::jthread thread;

  [[nodiscard]] bool leading_locked() const {
    return term && !term->source.stop_requested() && Clock::now() < term->deadline;
  }

  // Stops what is overdue. A thread of its own: the other one may hang inside a call.
  void keep_time(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      auto next = Clock::time_point::max();
      std::optional<std::stop_source> due;
      for (const auto* timed : {&term, &attempt}) {
        if (!*timed || (*timed)->source.stop_requested()) continue;
        if ((*timed)->deadline <= Clock::now()) due = (*timed)->source;
        next = std::min(next, (*timed)->deadline);
      }
      if (due) {
        // Callbacks of the token's holders run here, so not under the lock.
        lock.unlock();
        due->request_stop();
        lock.lock();
      } else if (next == Clock::time_point::max()) {
        changed.wait(lock, stop, [this] { return timed_pending_locked(); });
      } else {
        bool woken = false;
        changed.wait_until(lock, stop, next, [&] { return std::exchange(woken, true); });
      }
    }
  }
  [[nodiscard]] bool timed_pending_locked() const {
    const auto pending = [](const auto& timed) { return timed && !timed->source.stop_requested(); };
    return pending(term) || pending(attempt);
  }

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto begun = Clock::now();
      const bool ours = try_once(begun, stop);
      if (stop.stop_requested()) break;
      tell_leader();
      Millis wait = options.retry_period;
      if (ours) {
        // A renewal that took long is followed by the next one sooner.
        wait -= std::min(wait, std::chrono::duration_cast<Millis>(Clock::now() - begun));
      } else {
        end_term_if_over();
        if (!is_leading())
          wait += std::chrono::duration_cast<Millis>(
              wait * std::uniform_real_distribution<double>(0, kJitter)(random));
      }
      pause(wait, stop);
      end_term_if_over();
    }
    end_term();
    release();
  }

  [[nodiscard]] bool is_leading() const {
    const std::scoped_lock lock(mutex);
    return leading_locked();
  }

  // Waits, but not beyond the end of the term.
  void pause(Millis wait, const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    auto until = Clock::now() + wait;
    if (term) until = std::min(until, term->deadline);
    changed.wait_until(lock, stop, until, [] { return false; });
  }

  void end_term_if_over() {
    {
      const std::scoped_lock lock(mutex);
      if (!term || leading_locked()) return;
    }
    spdlog::error("leader election: lease {}/{} could not be renewed in time; no longer leading",
                  options.ns, options.name);
    end_term();
  }

  void end_term() {
    std::optional<std::stop_source> ending;
    {
      const std::scoped_lock lock(mutex);
      if (!term) return;
      ending = term->source;
    }
    ending->request_stop();  // its callbacks may ask is_leader()
    {
      const std::scoped_lock lock(mutex);
      term.reset();
    }
    if (callbacks.on_stopped) callbacks.on_stopped();
  }

  // Takes or renews the Lease once. True where it is ours, for renew_deadline from `begun`.
  bool try_once(Clock::time_point begun, const std::stop_token& stop) {
    const std::stop_source calls = begin_attempt(begun);
    const std::stop_callback link(stop, [&calls] { std::stop_source(calls).request_stop(); });
    auto held = take_or_renew(calls.get_token());
    {
      const std::scoped_lock lock(mutex);
      attempt.reset();
    }
    if (stop.stop_requested()) return false;
    note(held ? std::string() : held.error().text());
    if (!held) return false;
    if (!*held) {
      end_term_if_taken();
      return false;
    }
    bool is_new = false;
    bool late = false;
    std::stop_token token;
    {
      const std::scoped_lock lock(mutex);
      const auto deadline = begun + options.renew_deadline;
      late = Clock::now() >= deadline || (term && !leading_locked());
      if (!late) {
        is_new = !term;
        if (is_new) term.emplace();
        term->deadline = deadline;
        token = term->source.get_token();
        changed.notify_all();
      }
    }
    // An answer that came after its time begins no term and lengthens none.
    if (late) return false;
    if (is_new) {
      spdlog::info("leader election: {} leads by lease {}/{}", options.identity, options.ns,
                   options.name);
      if (callbacks.on_started) callbacks.on_started(token);
    }
    return true;
  }

  std::stop_source begin_attempt(Clock::time_point begun) {
    const std::scoped_lock lock(mutex);
    attempt.emplace();
    attempt->deadline = begun + options.renew_deadline;
    if (leading_locked()) attempt->deadline = term->deadline;
    changed.notify_all();
    return attempt->source;
  }

  // Somebody else holds the Lease though our term had time left: it was edited by hand.
  void end_term_if_taken() {
    if (holder_of(observed) == options.identity) return;
    {
      const std::scoped_lock lock(mutex);
      if (!term) return;
    }
    spdlog::error("leader election: lease {}/{} was taken by {}; no longer leading", options.ns,
                  options.name, holder_of(observed));
    end_term();
  }

  Result<bool> take_or_renew(const std::stop_token& stop) {
    if (is_leading() && holder_of(observed) == options.identity) {
      auto written = write(claimed(observed), stop);
      if (written) return true;
      if (!written.error().is_conflict() && !written.error().is_not_found())
        return std::unexpected(written.error());
    }
    auto lease = client->get(resources::kLeases, options.ns, options.name, stop);
    if (!lease) {
      if (!lease.error().is_not_found()) return std::unexpected(lease.error());
      // Deleting a Lease ends no term: its holder makes it anew.
      if (held_by_another()) return false;
      auto created = create(stop);
      if (!created && created.error().is_already_exists()) return false;
      if (!created) return std::unexpected(created.error());
      return true;
    }
    observe(std::move(*lease));
    if (held_by_another()) return false;
    auto written = write(claimed(observed), stop);
    if (written) return true;
    // Another was faster: its record is seen on the next look.
    if (written.error().is_conflict()) return false;
    return std::unexpected(written.error());
  }

  // By this process' clock alone; the times in the record are for people.
  [[nodiscard]] Clock::time_point expiry() const {
    const Json spec = member(observed, "spec");
    const auto promised =
        std::clamp<std::int64_t>(number_at(spec, "leaseDurationSeconds"), 0, kMaxDurationSeconds);
    return observed_at + std::max(options.lease_duration, Millis(std::chrono::seconds(promised)));
  }

  [[nodiscard]] bool held_by_another() const {
    const std::string holds = holder_of(observed);
    return !holds.empty() && holds != options.identity && Clock::now() < expiry();
  }

  void observe(Json lease) {
    const auto same = [&](const char* part, const char* key) {
      return member(lease, part).value(key, Json()) == member(observed, part).value(key, Json());
    };
    const bool unchanged = observed.is_object() && same("metadata", "uid") &&
                           member(lease, "spec") == member(observed, "spec");
    // After the answer came, so never before the record was written.
    if (!unchanged) observed_at = Clock::now();
    observed = std::move(lease);
    const std::scoped_lock lock(mutex);
    holder = holder_of(observed);
  }

  static std::string holder_of(const Json& lease) {
    return lease.is_object() ? text_at(member(lease, "spec"), "holderIdentity") : std::string();
  }

  [[nodiscard]] Json claimed(const Json& lease) const {
    Json out = lease;
    Json spec = member(lease, "spec");
    const std::string now = micro_time(std::chrono::system_clock::now());
    if (text_at(spec, "holderIdentity") != options.identity) {
      spec["acquireTime"] = now;
      spec["leaseTransitions"] = number_at(spec, "leaseTransitions") + 1;
    }
    spec["holderIdentity"] = options.identity;
    spec["leaseDurationSeconds"] =
        std::chrono::ceil<std::chrono::seconds>(options.lease_duration).count();
    spec["renewTime"] = now;
    out["spec"] = std::move(spec);
    return out;
  }

  Result<Json> create(const std::stop_token& stop) {
    Json lease{{"apiVersion", "coordination.k8s.io/v1"},
               {"kind", "Lease"},
               {"metadata", {{"name", options.name}, {"namespace", options.ns}}},
               {"spec", {{"leaseTransitions", -1}}}};
    lease = claimed(lease);
    uncertain = true;
    return written(client->create(resources::kLeases, options.ns, lease, stop));
  }

  // With the resourceVersion of what was read.
  Result<Json> write(const Json& lease, const std::stop_token& stop) {
    uncertain = true;
    return written(client->update(resources::kLeases, options.ns, options.name, lease, "", stop));
  }

  Result<Json> written(Result<Json> answer) {
    if (answer) observe(*answer);
    if (answer || !answer.error().is_transport()) uncertain = false;
    return answer;
  }

  void note(std::string text) {
    bool fresh = false;
    {
      const std::scoped_lock lock(mutex);
      fresh = text != error;
      error = text;
    }
    if (fresh && !text.empty())
      spdlog::warn("leader election: lease {}/{}: {}", options.ns, options.name, text);
  }

  void tell_leader() {
    std::string now = holder_of(observed);
    if (now.empty() || now == told_leader) return;
    told_leader = std::move(now);
    if (told_leader != options.identity)
      spdlog::info("leader election: {} leads by lease {}/{}", told_leader, options.ns,
                   options.name);
    if (callbacks.on_new_leader) callbacks.on_new_leader(told_leader);
  }

  void release() {
    if (holder_of(observed) != options.identity && !uncertain) return;
    const std::stop_source calls = begin_attempt(Clock::now() - options.renew_deadline +
                                                 options.retry_period);  // a retry_period from now
    for (int tries = 0; tries < 2; ++tries) {
      auto lease = client->get(resources::kLeases, options.ns, options.name, calls.get_token());
      if (!lease || holder_of(*lease) != options.identity) break;
      const std::string now = micro_time(std::chrono::system_clock::now());
      Json spec = member(*lease, "spec");
      spec["holderIdentity"] = "";
      spec["leaseDurationSeconds"] = 1;
      spec["renewTime"] = now;
      spec["acquireTime"] = now;
      (*lease)["spec"] = std::move(spec);
      auto given = write(*lease, calls.get_token());
      if (given) break;
      if (!given.error().is_conflict()) {
        spdlog::warn("leader election: lease {}/{} not given back: {}", options.ns, options.name,
                     given.error().text());
        break;
      }
    }
    const std::scoped_lock lock(mutex);
    attempt.reset();
  }
};

LeaderElector::LeaderElector(std::shared_ptr<const Client> client, LeaderOptions options,
                             LeaderCallbacks callbacks)
    : impl_(std::make_unique<Impl>()) {
  check(options);
  impl_->client = std::move(client);
  impl_->options = std::move(options);
  impl_->callbacks = std::move(callbacks);
}

LeaderElector::~LeaderElector() {
  stop();
}

void LeaderElector::start() {
  impl_->timer =
      std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->keep_time(stop); });
  impl_->thread =
      std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->run(stop); });
  pthread_setname_np(impl_->timer.native_handle(), "lease timer");
  pthread_setname_np(impl_->thread.native_handle(), "lease");
}

void LeaderElector::stop() {
  if (!impl_->thread.joinable()) return;
  impl_->thread.request_stop();
  impl_->thread.join();
  // Last: it bounds the calls that give the Lease back.
  impl_->timer.request_stop();
  impl_->timer.join();
}

bool LeaderElector::is_leader() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->leading_locked();
}

std::optional<std::stop_token> LeaderElector::term() const {
  const std::scoped_lock lock(impl_->mutex);
  if (!impl_->leading_locked()) return std::nullopt;
  return impl_->term->source.get_token();
}

std::string LeaderElector::leader() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->holder;
}

std::string LeaderElector::last_error() const {
  const std::scoped_lock lock(impl_->mutex);
  return impl_->error;
}

}  // namespace kube
