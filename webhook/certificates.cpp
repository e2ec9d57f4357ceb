#include <algorithm>

#include <spdlog/spdlog.h>

#include <kube/base64.h>
#include <kube/either_stop.h>
#include <webhook/certificates.h>

namespace palisade::webhook {

namespace {

using kube::Json;
using Trust = kube::CertificateKeeper::Trust;

constexpr const char* kAuthority = "palisade-webhook-ca";

// Writes the caBundle of the webhook configurations.
struct CaBundles {
  std::shared_ptr<const kube::Client> client;
  KeeperOptions options;

  [[nodiscard]] std::expected<Trust, std::string> operator()(const Bundle& bundle,
                                                             const std::stop_token& stop) const {
    auto both =
        in(kube::resources::kValidatingWebhookConfigurations, options.configuration, bundle, stop);
    if (!both || options.mutating_configuration.empty()) return both;
    const auto second = in(kube::resources::kMutatingWebhookConfigurations,
                           options.mutating_configuration, bundle, stop);
    if (!second) return second;
    return std::max(*both, *second);
  }

  [[nodiscard]] std::expected<Trust, std::string> in(const kube::Resource& resource,
                                                     const std::string& name, const Bundle& bundle,
                                                     const std::stop_token& stop) const {
    const auto failed = [&](const kube::Error& error) {
      return std::unexpected(std::string(resource.kind) + " " + name + ": " + error.text());
    };
    auto configuration = client->get(resource, "", name, stop);
    // Nobody calls through a mutating configuration that is not there: nothing waits for it.
    if (!configuration && configuration.error().is_not_found() &&
        resource == kube::resources::kMutatingWebhookConfigurations)
      return Trust::kWasThere;
    if (!configuration) return failed(configuration.error());
    const std::string wanted = kube::encode_base64(bundle.authorities);
    Json patch = Json::array();
    patch.push_back({{"op", "test"},
                     {"path", "/metadata/resourceVersion"},
                     {"value", (*configuration)["metadata"]["resourceVersion"]}});
    const Json webhooks = configuration->value("webhooks", Json::array());
    for (std::size_t i = 0; i < webhooks.size(); ++i) {
      if (webhooks[i].value("clientConfig", Json::object()).value("caBundle", "") == wanted)
        continue;
      patch.push_back({{"op", "add"},
                       {"path", "/webhooks/" + std::to_string(i) + "/clientConfig/caBundle"},
                       {"value", wanted}});
    }
    if (patch.size() == 1) return Trust::kWasThere;
    const auto leading = options.term ? options.term() : std::stop_token();
    if (!leading) return Trust::kMissing;
    const kube::EitherStop either(stop, *leading);
    auto written =
        client->patch(resource, "", name, kube::PatchType::kJson, patch, "", either.token());
    if (!written) return failed(written.error());
    spdlog::info("caBundle of {} {} written", resource.kind, name);
    return Trust::kWritten;
  }
};

kube::CertificateKeeperOptions generic(const KeeperOptions& options) {
  kube::CertificateKeeperOptions out;
  out.ns = options.ns;
  out.secret = options.secret;
  out.authority_name = kAuthority;
  out.managed_by = "palisade-webhook";
  out.names = options.names;
  out.validity = options.validity;
  out.interval = options.interval;
  out.term = options.term;
  return out;
}

}  // namespace

std::expected<Bundle, std::string> make_bundle(const std::vector<std::string>& names,
                                               WallClock::time_point now,
                                               std::chrono::seconds validity,
                                               const std::string& keep) {
  return kube::make_bundle(kAuthority, names, now, validity, keep);
}

CertificateKeeper::CertificateKeeper(const std::shared_ptr<const kube::Client>& client,
                                     const KeeperOptions& options, Serve serve)
    : kube::CertificateKeeper(client, generic(options), CaBundles{client, options},
                              std::move(serve)) {}

}  // namespace palisade::webhook
