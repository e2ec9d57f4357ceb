// What the API server itself has said of sessions' objects in the last moments and the caches may
// not have heard yet: answers to the operator's own writes, and reads of Secrets, which nobody
// watches. With it a session is made in one go, without waiting for the echo of each write.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include <kube/cache.h>
#include <kube/client.h>

namespace palisade::op {

// Thread-safe. Nothing is remembered for long: what is lost is read again.
class Known {
  using Json = kube::Json;

 public:
  using Clock = std::chrono::steady_clock;
  // An answer is believed this long where no watch tells anything newer.
  static constexpr std::chrono::seconds kEchoWithin{20};
  // A Secret that was read is believed this long, unless its workspace has changed.
  static constexpr std::chrono::seconds kSecretFresh{5};
  // That there is none, which only a process that led before could make untrue.
  static constexpr std::chrono::seconds kNoSecretFresh{30};
  // What this process has ended stays so, however late the watch tells of it; this bounds memory.
  static constexpr std::chrono::hours kEndedFor{1};
  // A name that another object held is looked up at the API server itself for this long.
  static constexpr std::chrono::seconds kForeignFor{120};

  explicit Known(std::function<Clock::time_point()> now = Clock::now)
      : now_(std::move(now)), swept_(now_()) {}

  // By the clock that everything here goes by.
  [[nodiscard]] Clock::time_point now() const { return now_(); }

  // The API server's answer about an object of a kind that is watched.
  void learn(const kube::Resource& resource, kube::ObjectPtr object);
  // A write of it, with the resourceVersion that it was looked at, is about to be sent; this is the
  // answer to it.
  void writing(const kube::Resource& resource, const std::string& ns, const std::string& name);
  void wrote(const kube::Resource& resource, kube::ObjectPtr object);
  // Whether `object` is as the API server itself has answered.
  [[nodiscard]] bool is_answer(const kube::Resource& resource, const Json& object);
  // Whether `object` is as the last write of this process has left it. Whatever was sent before
  // that, by whomever, names an earlier resourceVersion and is refused if it arrives only now.
  [[nodiscard]] bool is_settled(const kube::Resource& resource, const Json& object);
  // `cached`, or what is known to be newer.
  [[nodiscard]] kube::ObjectPtr newest(const kube::Resource& resource, const std::string& ns,
                                       const std::string& name, kube::ObjectPtr cached);
  // A watch tells of it. False: it is the echo of a write whose answer has been looked at, or an
  // even earlier state.
  [[nodiscard]] bool is_news(const kube::Resource& resource, const Json& object);
  // It was not as expected: the cache alone counts again.
  void forget(const kube::Resource& resource, const std::string& ns, const std::string& name);
  // A watch tells that it is gone. `last` has the version of the deletion: an answer that is older,
  // be it learned only afterwards, speaks of what no longer is.
  void gone(const kube::Resource& resource, const Json& last);
  // The API server has taken a delete of `uid`: whoever still holds it as it was is told that it is
  // on its way out.
  void ending(const kube::Resource& resource, const std::string& ns, const std::string& name,
              const std::string& uid);

  // Secrets of the workspace `key`: null is one that is not there, nullopt one to be read.
  void learn_secret(const std::string& key, const std::string& name, kube::ObjectPtr secret);
  [[nodiscard]] std::optional<kube::ObjectPtr> secret(const std::string& key,
                                                      const std::string& name);
  // What was read of Secrets before now is no longer to be gone by for this workspace.
  void forget_secrets(const std::string& key);
  // When that was said last, where it was within kSecretFresh; else the clock's least.
  [[nodiscard]] Clock::time_point secrets_forgotten(const std::string& key);

  // Somebody else's object holds a name of this workspace: no cache knows it.
  void suspect(const std::string& key);
  [[nodiscard]] bool is_suspect(const std::string& key);

 private:
  struct Answer {
    std::string plural, key;
    bool there = false;  // in objects_; else it is gone, as of that version
    std::uint64_t version = 0;
    Clock::time_point at;
    bool settled = false;
  };
  struct Read {
    kube::ObjectPtr secret;
    Clock::time_point at;
  };
  [[nodiscard]] static bool is_fresh(const Read& read, Clock::time_point now);
  // The answer that `object` is, if it is one; mutex_ is held.
  [[nodiscard]] const Answer* answer_of(const kube::Resource& resource, const Json& object) const;
  [[nodiscard]] kube::ObjectPtr as_it_ends(const std::string& at, kube::ObjectPtr object) const;
  void remember(const kube::Resource& resource, const std::string& key, kube::ObjectPtr object,
                std::uint64_t version);
  void drop_object(const Answer& answer);
  void sweep(Clock::time_point now);

  const std::function<Clock::time_point()> now_;
  std::mutex mutex_;
  std::unordered_map<std::string, Answer> answers_;
  std::map<std::string, kube::Cache> objects_;  // of the answers, by kind; packed but for the last
  std::unordered_map<std::string, std::map<std::string, Read>> secrets_;
  std::unordered_map<std::string, Clock::time_point> forgotten_;
  std::unordered_map<std::string, Clock::time_point> suspects_;
  std::unordered_map<std::string, std::pair<std::string, Clock::time_point>> ending_;  // uids
  Clock::time_point swept_;
};

}  // namespace palisade::op
