#include <gateway/serve/trust.h>
#include <spdlog/spdlog.h>

#include <kube/either_stop.h>

#include "grant.h"

namespace palisade::gateway {

namespace {

using kube::Json;
using Trust = kube::CertificateKeeper::Trust;
namespace resources = kube::resources;

std::expected<Trust, std::string> make_trusted(const kube::Client& client,
                                               const TrustOptions& options,
                                               const kube::CertificateBundle& bundle,
                                               const std::stop_token& stop) {
  const auto failed = [&](const kube::Error& error) {
    return std::unexpected("ConfigMap " + options.configmap + ": " + error.text());
  };
  const auto held = client.get(resources::kConfigMaps, options.ns, options.configmap, stop);
  if (!held && !held.error().is_not_found()) return failed(held.error());
  if (held && text_at(*held, "/data/ca.crt") == bundle.authorities) return Trust::kWasThere;
  const auto leading = options.term ? options.term() : std::stop_token();
  if (!leading) return Trust::kMissing;
  const kube::EitherStop either(stop, *leading);
  kube::Result<Json> written;
  if (held) {
    // With the version that was read: of two that think they lead one wins.
    const Json patch = {
        {"metadata", {{"resourceVersion", text_at(*held, "/metadata/resourceVersion")}}},
        {"data", {{"ca.crt", bundle.authorities}}}};
    written = client.patch(resources::kConfigMaps, options.ns, options.configmap,
                           kube::PatchType::kMerge, patch, "", either.token());
  } else {
    const Json made = {{"apiVersion", "v1"},
                       {"kind", "ConfigMap"},
                       {"metadata",
                        {{"name", options.configmap},
                         {"namespace", options.ns},
                         {"labels", {{"app.kubernetes.io/managed-by", "palisade-gateway"}}}}},
                       {"data", {{"ca.crt", bundle.authorities}}}};
    written = client.create(resources::kConfigMaps, options.ns, made, either.token());
  }
  if (!written) return failed(written.error());
  spdlog::info("ConfigMap {}: the authority of the serving certificate is written",
               options.configmap);
  return Trust::kWritten;
}

}  // namespace

kube::CertificateKeeper::MakeTrusted trust_by_configmap(std::shared_ptr<const kube::Client> client,
                                                        TrustOptions options) {
  return [client = std::move(client), options = std::move(options)](
             const kube::CertificateBundle& bundle, const std::stop_token& stop) {
    return make_trusted(*client, options, bundle, stop);
  };
}

}  // namespace palisade::gateway
