#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>
#include <utility>

#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <webhook/signatures.h>

#include "signatures/bundle.h"
#include "signatures/cosign.h"
#include "signatures/keys.h"
#include "signatures/registry.h"

namespace palisade::webhook {

namespace {

using Clock = std::chrono::steady_clock;

// What is left of a review's time when its answer is written.
constexpr auto kForTheAnswer = std::chrono::milliseconds(150);

// The oldest goes first.
class Memory {
 public:
  explicit Memory(std::size_t most) : most_(most) {}

  void keep(const std::string& key, std::string why, Clock::time_point until) {
    if (kept_.insert_or_assign(key, Entry{std::move(why), until}).second) order_.push_back(key);
    if (order_.size() <= most_) return;
    kept_.erase(order_.front());
    order_.pop_front();
  }
  [[nodiscard]] const std::string* find(const std::string& key) const {
    const auto found = kept_.find(key);
    return found == kept_.end() || found->second.until <= Clock::now() ? nullptr
                                                                       : &found->second.why;
  }

 private:
  struct Entry {
    std::string why;
    Clock::time_point until;
  };
  const std::size_t most_;
  std::unordered_map<std::string, Entry> kept_;
  std::deque<std::string> order_;
};

// A signature is of a digest by a key: neither changes.
std::string key_of(const policy::ImageName& image, const policy::SignatureRule& rule) {
  std::string text = image.registry + "/" + image.repository + "@" + image.digest;
  for (const policy::SigningKey& key : rule.keys)
    text += "\n" + key.pem;
  return sha256_of(text);
}

std::string names_of(const policy::SignatureRule& rule) {
  std::string out;
  for (const policy::SigningKey& key : rule.keys)
    out += (out.empty() ? "" : ", ") + key.name;
  return policy::shown(out, 200);
}

std::string fix(const policy::ImageName& image) {
  return "; sign it: cosign sign --key KEY " + image.registry + "/" + image.repository + "@" +
         image.digest;
}

// Where signatures may be: "" where one of them is good, else what is wrong; nullopt where there is
// nothing. An error says why it cannot be told.
using Found = std::expected<std::optional<std::string>, std::string>;

Found tagged(RegistryReader& registry, const std::string& digest,
             const std::vector<kube::KeyPtr>& keys) {
  const std::string tag = signature_tag(digest);
  const auto manifest = registry.manifest(tag);
  if (!manifest) return std::unexpected(manifest.error());
  if (!*manifest) return std::nullopt;
  const auto stored = read_signatures(**manifest);
  if (!stored) return "the manifest " + tag + " is none of cosign's, " + stored.error();
  std::string why = "there is none under " + tag;
  for (const StoredSignature& signature : *stored) {
    const auto payload = registry.blob(signature.digest);
    if (!payload) return std::unexpected(payload.error());
    why = signature_problem(signature, *payload, digest, keys);
    if (why.empty()) break;
  }
  return why;
}

Found bundled(RegistryReader& registry, const std::string& digest,
              const std::vector<kube::KeyPtr>& keys) {
  const auto list = registry.referrers(digest);
  if (!list) return std::unexpected(list.error());
  if (!*list) return std::nullopt;
  const auto manifests = read_referrers(**list);
  if (!manifests) return "the list of what refers to the image is none: " + manifests.error();
  std::optional<std::string> why;
  for (const std::string& place : *manifests) {
    const auto manifest = registry.manifest(place);
    if (!manifest) return std::unexpected(manifest.error());
    const auto stored = *manifest ? read_bundle_place(**manifest)
                                  : std::unexpected<std::string>("its manifest is not there");
    if (!stored) {
      why = "of the bundle that refers to it, " + stored.error();
      continue;
    }
    if (stored->digest.empty()) continue;
    const auto bundle = registry.blob(stored->digest);
    if (!bundle) return std::unexpected(bundle.error());
    const std::string problem = bundle_problem(*stored, *bundle, digest, keys);
    if (problem.empty()) return problem;
    why = "of the bundle that refers to it, " + problem;
  }
  return why;
}

Signatures::Answer verify(const RegistryOptions& options, const policy::ImageName& image,
                          const policy::SignatureRule& rule, Clock::time_point deadline) {
  std::vector<kube::KeyPtr> keys;
  for (const policy::SigningKey& key : rule.keys) {
    auto read = read_public_key(key.pem);
    if (!read) {
      return std::unexpected("key " + policy::shown(key.name, 64) + " of requireSignatures " +
                             read.error());
    }
    keys.push_back(std::move(*read));
  }
  RegistryReader registry(options, image, deadline);
  std::string why;
  for (const auto& look : {tagged, bundled}) {
    const Found found = look(registry, image.digest, keys);
    if (!found) return std::unexpected(found.error());
    if (!*found) continue;
    if ((*found)->empty()) return std::string();
    why += (why.empty() ? "" : "; ") + **found;
  }
  if (why.empty()) {
    return "has no signature: " + image.registry + " has neither a tag " +
           signature_tag(image.digest) + " nor a bundle that refers to it" + fix(image);
  }
  if (std::ranges::any_of(keys, [](const kube::KeyPtr& key) { return is_ed25519(key.get()); })) {
    why +=
        "; with an Ed25519 key newer cosign makes Ed25519ph, which cannot be verified here: sign "
        "with an ECDSA key";
  }
  return "has no signature by " + names_of(rule) + ": " + why + fix(image);
}

}  // namespace

struct Signatures::Impl {
  Impl(SignaturesOptions given, prometheus::Family<prometheus::Counter>& lookups)
      : options(std::move(given)),
        registries{options.ca_file, options.credentials_file, options.other_hosts},
        good(options.max_signed),
        refused(options.max_refused),
        found_signed(lookups.Add({{"result", "signed"}})),
        found_unsigned(lookups.Add({{"result", "unsigned"}})),
        found_nothing(lookups.Add({{"result", "unknown"}})) {}

  struct Flight {
    std::optional<Answer> answer;
  };

  const SignaturesOptions options;
  const RegistryOptions registries;
  mutable std::mutex mutex;
  std::condition_variable landed;
  Memory good;
  Memory refused;
  std::map<std::string, std::shared_ptr<Flight>> flights;
  std::size_t waiting = 0;
  prometheus::Counter& found_signed;
  prometheus::Counter& found_unsigned;
  prometheus::Counter& found_nothing;

  // Under the mutex.
  [[nodiscard]] std::optional<Answer> remembered(const std::string& key) const {
    if (good.find(key) != nullptr) return Answer(std::string());
    if (const std::string* why = refused.find(key)) return Answer(*why);
    return std::nullopt;
  }
  void remember(const std::string& key, const Answer& answer) {
    if (!answer) {
      found_nothing.Increment();
    } else if (answer->empty()) {
      found_signed.Increment();
      good.keep(key, {}, Clock::time_point::max());
    } else {
      found_unsigned.Increment();
      refused.keep(key, *answer, Clock::now() + options.refusal_kept);
    }
  }
};

Signatures::Signatures(SignaturesOptions options, prometheus::Registry& registry)
    : impl_(std::make_unique<Impl>(
          std::move(options),
          prometheus::BuildCounter()
              .Name("palisade_webhook_signature_lookups_total")
              .Help("Images whose signature was looked for at a registry, by what was found. What "
                    "is known already is not looked for.")
              .Register(registry))) {}

Signatures::~Signatures() = default;

std::optional<Signatures::Answer> Signatures::known(const policy::ImageToVerify& image,
                                                    const policy::SignatureRule& rule) const {
  const std::string key = key_of(image.name, rule);
  const std::scoped_lock lock(impl_->mutex);
  return impl_->remembered(key);
}

Signatures::Answer Signatures::ask(const policy::ImageToVerify& image,
                                   const policy::SignatureRule& rule, Clock::time_point deadline) {
  Impl& impl = *impl_;
  const auto now = Clock::now();
  auto until = now + impl.options.patience;
  if (deadline != Clock::time_point::max()) until = std::min(until, deadline - kForTheAnswer);
  if (until <= now) return std::unexpected("no time is left to ask " + image.name.registry);

  const std::string key = key_of(image.name, rule);
  std::unique_lock lock(impl.mutex);
  if (auto answer = impl.remembered(key)) return std::move(*answer);
  if (impl.waiting >= impl.options.max_waiting) {
    return std::unexpected(
        "the webhook waits for registries about as many other images as it may at a time");
  }
  struct Waiting {
    std::size_t& count;
    explicit Waiting(std::size_t& all) : count(all) { ++count; }
    ~Waiting() { --count; }  // the lock is held wherever it ends
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
  };
  const Waiting one_more(impl.waiting);
  auto& flight = impl.flights[key];
  if (flight) {
    const std::shared_ptr<Impl::Flight> shared = flight;
    if (impl.landed.wait_until(lock, until, [&] { return shared->answer.has_value(); }))
      return *shared->answer;
    return std::unexpected(image.name.registry + " takes its time");
  }
  flight = std::make_shared<Impl::Flight>();
  const std::shared_ptr<Impl::Flight> own = flight;
  lock.unlock();
  Answer answer = std::unexpected(std::string("something went wrong within the webhook"));
  std::exception_ptr thrown;
  try {
    answer = verify(impl.registries, image.name, rule, until);
  } catch (...) {
    thrown = std::current_exception();
  }
  lock.lock();
  impl.remember(key, answer);
  own->answer = answer;
  impl.flights.erase(key);
  impl.landed.notify_all();
  if (thrown) std::rethrow_exception(thrown);
  return answer;
}

}  // namespace palisade::webhook
