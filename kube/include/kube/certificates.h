// A program's own serving certificate: made by the replica that leads, shared through one Secret,
// and served once those who call trust its authority. How they come to is the program's own: a
// caBundle, a ConfigMap.
#pragma once

#include <chrono>
#include <cstdint>
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

namespace kube {

using WallClock = std::chrono::system_clock;

struct CertificateBundle {
  std::string authorities;  // PEM, the newest first; what callers trust
  std::string certificate;  // PEM
  std::string key;          // PEM
  bool operator==(const CertificateBundle&) const = default;
};

// A new authority (`authority_name` is its common name) and a serving certificate for `names` (DNS
// names, or addresses), ECDSA P-256. The authority's key is thrown away once it has signed: nothing
// else will ever be trusted through it. `keep` is an older authority that stays trusted beside the
// new one. A name that is neither a DNS name nor an address is an error that names it.
[[nodiscard]] std::expected<CertificateBundle, std::string> make_bundle(
    const std::string& authority_name, const std::vector<std::string>& names,
    WallClock::time_point now, std::chrono::seconds validity, const std::string& keep = {});

struct CertificateState {
  bool usable = false;  // fits its key and authority, holds the names, is valid now
  bool due = false;     // two thirds of its life are over
  std::string problem;  // why it is not usable
  WallClock::time_point expires;
};
[[nodiscard]] CertificateState inspect(const CertificateBundle& bundle,
                                       const std::vector<std::string>& names,
                                       WallClock::time_point now);

// The first certificate of a PEM text.
[[nodiscard]] std::string first_certificate(const std::string& pem);
// When it ends; the epoch where it is none.
[[nodiscard]] WallClock::time_point end_of(const std::string& certificate);

struct CertificateKeeperOptions {
  std::string ns;
  std::string secret;
  std::string authority_name;      // common name of the authorities that it makes
  std::string managed_by;          // the Secret's label app.kubernetes.io/managed-by
  std::vector<std::string> names;  // the certificate's
  std::chrono::seconds validity{std::chrono::hours(24 * 90)};
  std::chrono::milliseconds interval{10'000};
  // How long an authority must have been trusted, as this replica has seen it, before what it has
  // signed is served: as long as it takes to reach all who call. Never less than one interval.
  std::chrono::milliseconds overlap{0};
  // The token of this replica's present term, or none where another leads: only who leads makes
  // certificates and writes what makes them trusted. Without the function this replica is alone.
  std::function<std::optional<std::stop_token>()> term;
};

// Owns a thread that keeps Secret, trust and serving certificate together; where another replica
// leads, it serves what that one has written. A new certificate is served only after its authority
// has been trusted for `overlap`, so that nobody meets one that it does not trust; at once where
// the old one is trusted no more (its Secret was deleted: how a leaked key is withdrawn). That
// holds for a program that starts meanwhile too: the Secret says when its certificate was made, and
// has the former one beside it (former.crt, former.key), to be served until then.
class CertificateKeeper {
 public:
  enum class Trust : std::uint8_t {
    kWasThere,
    kWritten,
    kMissing,  // and another replica has to write it
  };
  // Makes callers trust the bundle's authorities, where this replica leads; else says whether they
  // do. Called on the keeper's thread. The error is what stands in the way.
  using MakeTrusted =
      std::function<std::expected<Trust, std::string>(const CertificateBundle&, std::stop_token)>;
  using Serve = std::function<void(const ServingCertificate&)>;

  CertificateKeeper(std::shared_ptr<const Client> client, CertificateKeeperOptions options,
                    MakeTrusted make_trusted, Serve serve);
  ~CertificateKeeper();  // stops
  CertificateKeeper(const CertificateKeeper&) = delete;
  CertificateKeeper& operator=(const CertificateKeeper&) = delete;

  // Waits until there is a certificate to serve; an error after `timeout`.
  [[nodiscard]] std::expected<ServingCertificate, std::string> first(std::chrono::seconds timeout);
  void start();
  [[nodiscard]] bool in_place() const;  // certificate served and trusted
  [[nodiscard]] WallClock::time_point expires() const;

 private:
  [[nodiscard]] std::expected<CertificateBundle, std::string> load_or_make(std::stop_token stop);
  [[nodiscard]] std::expected<CertificateBundle, std::string> make(std::optional<Json> secret,
                                                                   const CertificateBundle* held,
                                                                   std::stop_token term);
  void tick(std::stop_token stop);

  const std::shared_ptr<const Client> client_;
  const CertificateKeeperOptions options_;
  const MakeTrusted make_trusted_;
  const Serve serve_;
  mutable std::mutex mutex_;
  // Of the last look at the Secret: what is to be served still, and for how long it has been so.
  std::optional<CertificateBundle> former_;
  std::chrono::milliseconds age_{0};
  CertificateBundle served_;
  CertificateBundle pending_;  // trusted, and to be served once that has lasted
  std::chrono::steady_clock::time_point pending_since_;
  bool in_place_ = false;
  WallClock::time_point expires_;
  std::jthread thread_;
};

}  // namespace kube
