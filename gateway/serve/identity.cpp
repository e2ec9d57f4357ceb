#include <array>
#include <atomic>
#include <list>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <gateway/http/workers.h>
#include <gateway/serve/identity.h>
#include <openssl/evp.h>
#include <spdlog/spdlog.h>

#include "token.h"
#include "wakeup.h"

namespace palisade::gateway {

namespace {

using std::chrono::steady_clock;
using WallClock = std::chrono::system_clock;

const kube::Resource kTokenReviews{"authentication.k8s.io", "v1", "tokenreviews", "TokenReview",
                                   false};

std::string digest_of(std::string_view token) {
  // Looked up once: OpenSSL goes through its providers for each use of the other kind.
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned int length = 0;
  if (sha256 == nullptr ||
      EVP_Digest(token.data(), token.size(), out.data(), &length, sha256, nullptr) != 1)
    return {};
  return {reinterpret_cast<const char*>(out.data()), length};
}

// Bounded: the entries that were put in first make room.
template <class Value>
class Bounded {
 public:
  explicit Bounded(std::size_t most) : most_(most) {}

  void put(const std::string& key, Value value, WallClock::time_point until) {
    erase(key);
    while (entries_.size() >= most_)
      erase(order_.front());
    order_.push_back(key);
    entries_.emplace(key, Entry{std::move(value), until, std::prev(order_.end())});
  }
  [[nodiscard]] const Value* get(const std::string& key, WallClock::time_point now) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) return nullptr;
    if (now < found->second.until) return &found->second.value;
    erase(key);
    return nullptr;
  }
  void erase(const std::string& key) {
    const auto found = entries_.find(key);
    if (found == entries_.end()) return;
    const auto at = found->second.at;
    entries_.erase(found);
    order_.erase(at);
  }

 private:
  struct Entry {
    Value value;
    WallClock::time_point until;
    std::list<std::string>::iterator at;
  };
  const std::size_t most_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> order_;
};

Refusal not_accepted(const std::string& why) {
  return {401, "invalid_token",
          why + "; a request must carry the projected token of an agent pod's relay"};
}

Refusal cannot_tell() {
  return {503, "identity_unknown",
          "the gateway cannot ask the API server about this token right now; try again in a "
          "moment"};
}

}  // namespace

struct TokenIdentity::Impl {
  // A review under way, and who waits for it.
  struct Review {
    std::vector<std::shared_ptr<Wakeup>> waiting;
  };
  // What a review has proven, and when.
  struct Reviewed {
    Proven proven;
    steady_clock::time_point at;
  };
  // What is known of a token.
  struct Known {
    std::optional<Reviewed> reviewed;
    std::optional<Refusal> refusal;
    std::shared_ptr<Wakeup> wait;  // another asks
  };

  Impl(std::shared_ptr<const kube::Client> c, const Directory& d, IdentityOptions o)
      : client(std::move(c)),
        directory(d),
        options(std::move(o)),
        known(options.max_known),
        refused(options.max_refused),
        workers(options.threads, options.max_waiting) {}

  [[nodiscard]] WallClock::time_point now() const {
    return options.now ? options.now() : WallClock::now();
  }

  Known known_locked(const std::string& digest) {
    Known out;
    const auto at = now();
    if (const Reviewed* reviewed = known.get(digest, at)) {
      out.reviewed = *reviewed;
    } else if (const Refusal* refusal = refused.get(digest, at)) {
      out.refusal = *refusal;
    }
    return out;
  }

  // What is known already; nobody is to do anything.
  Known peek(const std::string& digest) {
    const std::scoped_lock lock(mutex);
    return known_locked(digest);
  }

  // None of the three: the caller is to ask, and to end the review.
  Known look(const std::string& digest) {
    const std::scoped_lock lock(mutex);
    Known out = known_locked(digest);
    if (out.reviewed || out.refusal) return out;
    if (const auto review = reviews.find(digest); review != reviews.end()) {
      out.wait = std::make_shared<Wakeup>();
      review->second.waiting.push_back(out.wait);
    } else {
      reviews.emplace(digest, Review{});
    }
    return out;
  }

  void end_review(const std::string& digest) {
    Review ended;
    {
      const std::scoped_lock lock(mutex);
      const auto found = reviews.find(digest);
      if (found == reviews.end()) return;
      ended = std::move(found->second);
      reviews.erase(found);
    }
    for (const auto& one : ended.waiting)
      one->set();
  }

  void keep_refusal(const std::string& digest, Refusal refusal, std::chrono::milliseconds keep) {
    const std::scoped_lock lock(mutex);
    refused.put(digest, std::move(refusal), now() + keep);
  }

  // Blocks.
  [[nodiscard]] kube::Result<kube::Json> ask(const std::string& token) const {
    return client->create(kTokenReviews, "",
                          {{"apiVersion", "authentication.k8s.io/v1"},
                           {"kind", "TokenReview"},
                           {"spec", {{"token", token}, {"audiences", {options.audience}}}}});
  }

  // What one review says, for whoever asked, and kept for those who come.
  std::expected<Reviewed, Refusal> learn(const std::string& digest,
                                         const kube::Result<kube::Json>& answer,
                                         WallClock::time_point token_ends) {
    ++reviews_made;
    if (!answer) {
      ++failed;
      spdlog::warn("TokenReview: {}", answer.error().text());
      // So that whoever waited does not ask one after the other.
      keep_refusal(digest, cannot_tell(), std::chrono::milliseconds(250));
      return std::unexpected(cannot_tell());
    }
    auto proven = proven_by(*answer, options.audience);
    if (!proven) {
      keep_refusal(digest, not_accepted(proven.error()), options.keep_refusals);
      return std::unexpected(not_accepted(proven.error()));
    }
    Reviewed out{std::move(*proven), steady_clock::now()};
    const std::scoped_lock lock(mutex);
    known.put(digest, out, std::min(now() + options.keep, token_ends));
    return out;
  }

  [[nodiscard]] Task<std::expected<Reviewed, Refusal>> review(std::string token,
                                                              std::string digest);

  const std::shared_ptr<const kube::Client> client;
  const Directory& directory;
  const IdentityOptions options;
  std::mutex mutex;
  Bounded<Reviewed> known;
  Bounded<Refusal> refused;
  std::unordered_map<std::string, Review> reviews;
  std::atomic<std::uint64_t> reviews_made{0}, failed{0};
  Workers workers;  // last: its threads use what stands above
};

namespace {

// Ends a review that its coroutine began, also where that is destroyed.
template <class End>
class AtEnd {
 public:
  explicit AtEnd(End end) : end_(std::move(end)) {}
  ~AtEnd() { end_(); }
  AtEnd(const AtEnd&) = delete;
  AtEnd& operator=(const AtEnd&) = delete;

 private:
  End end_;
};

}  // namespace

// What a review says of a token that nobody has asked about yet.
Task<std::expected<TokenIdentity::Impl::Reviewed, Refusal>> TokenIdentity::Impl::review(
    std::string token, std::string digest) {
  const auto claims = read_token(token, options.audience, options.max_token_bytes);
  if (!claims) co_return std::unexpected(not_accepted(claims.error()));
  const auto deadline = steady_clock::now() + options.patience;
  for (;;) {
    auto found = look(digest);
    if (found.refusal) co_return std::unexpected(std::move(*found.refusal));
    if (found.reviewed) co_return std::move(*found.reviewed);
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - steady_clock::now());
    if (found.wait) {
      if (left <= std::chrono::milliseconds(0)) co_return std::unexpected(cannot_tell());
      static_cast<void>(co_await found.wait->wait(left));
      continue;
    }
    const AtEnd ended([this, digest] { end_review(digest); });
    if (left <= std::chrono::milliseconds(0)) co_return std::unexpected(cannot_tell());
    // Shared: the thread may still be at it when this coroutine is gone.
    auto answer = std::make_shared<kube::Result<kube::Json>>();
    std::function<void()> work = [this, token, answer] { *answer = ask(token); };
    const auto ran = co_await workers.run(std::move(work));
    if (!ran) co_return std::unexpected(cannot_tell());
    co_return learn(digest, *answer, claims->expires);
  }
}

TokenIdentity::TokenIdentity(std::shared_ptr<const kube::Client> client, const Directory& directory,
                             IdentityOptions options)
    : impl_(std::make_unique<Impl>(std::move(client), directory, std::move(options))) {}

TokenIdentity::~TokenIdentity() = default;

Task<std::expected<Caller, Refusal>> TokenIdentity::identify(std::string_view bearer) {
  Impl& impl = *impl_;
  if (bearer.size() > impl.options.max_token_bytes)
    co_return std::unexpected(not_accepted("the token is too long"));
  const std::string digest = digest_of(bearer);
  if (digest.empty()) co_return std::unexpected(cannot_tell());
  auto known = impl.peek(digest);
  if (known.refusal) co_return std::unexpected(std::move(*known.refusal));
  // What is proven already is not read again: an expired token is forgotten at its end.
  if (!known.reviewed) {
    auto reviewed = co_await impl.review(std::string(bearer), digest);
    if (!reviewed) co_return std::unexpected(std::move(reviewed.error()));
    known.reviewed = std::move(*reviewed);
  }
  // A watch may be a moment behind a pod that has just begun. One that was known is gone at once.
  const Proven& proven = known.reviewed->proven;
  const auto known_by = known.reviewed->at + impl.options.pod_patience;
  auto caller = impl.directory.caller(proven);
  while (!caller && !impl.directory.knows_pod(proven) && steady_clock::now() < known_by) {
    Wakeup never;
    static_cast<void>(co_await never.wait(std::chrono::milliseconds(50)));
    caller = impl.directory.caller(proven);
  }
  co_return caller;
}

IdentityCounters TokenIdentity::counters() const {
  return {impl_->reviews_made, impl_->failed};
}

}  // namespace palisade::gateway
