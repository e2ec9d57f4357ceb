// Where those who call the gateway find its authority: a ConfigMap of its namespace.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include <kube/certificates.h>
#include <kube/client.h>

namespace palisade::gateway {

struct TrustOptions {
  std::string ns;
  std::string configmap = "palisade-gateway-ca";
  // As of kube::CertificateKeeperOptions: only who leads writes.
  std::function<std::optional<std::stop_token>()> term;
};

// Keeps key ca.crt of the ConfigMap at the bundle's authorities. Rights: get, create and patch of
// it.
[[nodiscard]] kube::CertificateKeeper::MakeTrusted trust_by_configmap(
    std::shared_ptr<const kube::Client> client, TrustOptions options);

}  // namespace palisade::gateway
