// The webhook's own certificate: kept in one Secret (kube/certificates.h), and trusted by the API
// server through the caBundle of its webhook configurations. Or made by another (cert-manager) and
// mounted as files.
#pragma once

#include <chrono>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <kube/certificates.h>
#include <kube/client.h>

namespace palisade::webhook {

using kube::end_of;
using kube::first_certificate;
using kube::inspect;
using kube::WallClock;
using Bundle = kube::CertificateBundle;

[[nodiscard]] std::expected<Bundle, std::string> make_bundle(const std::vector<std::string>& names,
                                                             WallClock::time_point now,
                                                             std::chrono::seconds validity,
                                                             const std::string& keep = {});

struct KeeperOptions {
  std::string ns;
  std::string secret;
  std::string configuration;           // ValidatingWebhookConfiguration
  std::string mutating_configuration;  // MutatingWebhookConfiguration; "" for none
  std::vector<std::string> names;      // the certificate's
  std::chrono::seconds validity{std::chrono::hours(24 * 90)};
  std::chrono::milliseconds interval{10'000};
  std::function<std::optional<std::stop_token>()> term;  // see kube::CertificateKeeperOptions
};

// Keeps Secret, caBundle and serving certificate together.
class CertificateKeeper : public kube::CertificateKeeper {
 public:
  CertificateKeeper(const std::shared_ptr<const kube::Client>& client, const KeeperOptions& options,
                    Serve serve);
};

}  // namespace palisade::webhook
