// The webhook's own certificate: made by itself, shared by its replicas through one Secret, trusted
// by the API server through the caBundle of its ValidatingWebhookConfiguration.
#pragma once

#include <chrono>
#include <expected>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <kube/client.h>
#include <kube/http_server.h>

namespace palisade::webhook {

using WallClock = std::chrono::system_clock;

struct Bundle {
  std::string authorities;  // PEM, the newest first; what the API server trusts
  std::string certificate;  // PEM
  std::string key;          // PEM
  bool operator==(const Bundle&) const = default;
};

// A new authority and a serving certificate for `names` (DNS names, or addresses), ECDSA P-256. The
// authority's key is thrown away once it has signed: nothing else will ever be trusted through it.
// `keep` is an older authority that stays trusted beside the new one.
[[nodiscard]] std::expected<Bundle, std::string> make_bundle(const std::vector<std::string>& names,
                                                             WallClock::time_point now,
                                                             std::chrono::hours validity,
                                                             const std::string& keep = {});

struct BundleState {
  bool usable = false;  // fits its key and authority, holds the names, is valid now
  bool due = false;     // two thirds of its life are over
  std::string problem;  // why it is not usable
  WallClock::time_point expires;
};
[[nodiscard]] BundleState inspect(const Bundle& bundle, const std::vector<std::string>& names,
                                  WallClock::time_point now);

// The first certificate of a PEM text.
[[nodiscard]] std::string first_certificate(const std::string& pem);

struct KeeperOptions {
  std::string ns;
  std::string secret;
  std::string configuration;       // ValidatingWebhookConfiguration
  std::vector<std::string> names;  // the certificate's
  std::chrono::hours validity{24 * 90};
  std::chrono::milliseconds interval{10'000};
};

// Owns a thread that keeps Secret, caBundle and serving certificate together. A new certificate is
// served only after its authority has stood in the caBundle for one interval, so that no API server
// meets one that it does not trust; at once where the old one is trusted no more (its Secret was
// deleted: how a leaked key is withdrawn).
class CertificateKeeper {
 public:
  using Serve = std::function<void(const kube::ServingCertificate&)>;
  CertificateKeeper(std::shared_ptr<const kube::Client> client, KeeperOptions options, Serve serve);
  ~CertificateKeeper();  // stops
  CertificateKeeper(const CertificateKeeper&) = delete;
  CertificateKeeper& operator=(const CertificateKeeper&) = delete;

  // Waits until there is a certificate to serve; an error after `timeout`.
  [[nodiscard]] std::expected<kube::ServingCertificate, std::string> first(
      std::chrono::seconds timeout);
  void start();
  [[nodiscard]] bool in_place() const;  // certificate served and trusted
  [[nodiscard]] WallClock::time_point expires() const;

 private:
  [[nodiscard]] std::expected<Bundle, std::string> load_or_make(std::stop_token stop);
  // True where the caBundle already was what it must be.
  [[nodiscard]] std::expected<bool, std::string> trust(const Bundle& bundle, std::stop_token stop);
  void tick(std::stop_token stop);

  const std::shared_ptr<const kube::Client> client_;
  const KeeperOptions options_;
  const Serve serve_;
  mutable std::mutex mutex_;
  Bundle served_;
  Bundle pending_;  // seen on the last look, to be served on the next
  bool in_place_ = false;
  WallClock::time_point expires_;
  std::jthread thread_;
};

}  // namespace palisade::webhook
