// A test's API server as another sees it who has no client certificate, and asked without a client.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <kube/config.h>
#include <kube/transport.h>

namespace palisade {

// Shows this token, or nothing where it is empty.
inline kube::Config as_user(kube::Config config, const std::string& token = "") {
  config.tls_material = [material = config.tls_material] {
    auto out = material();
    out.certificate.clear();
    out.key.clear();
    return out;
  };
  config.bearer_token = [token] { return token; };
  return config;
}

// For requests that are written by hand; who asks shows a token in its own header.
inline std::unique_ptr<kube::Transport> transport_to(const kube::Config& config) {
  kube::TransportOptions options;
  options.base_url = config.server;
  options.server_name = config.server_name;
  options.tls_material = config.tls_material;
  return kube::make_beast_transport(std::move(options));
}

}  // namespace palisade
