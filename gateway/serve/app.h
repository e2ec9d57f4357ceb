// The program: everything of the gateway put together, started and ended in order.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <kube/client.h>
#include <kube/config.h>
#include <policy/policy.h>

namespace palisade::gateway {

struct AppOptions {
  std::filesystem::path config_file;  // gateway.json; read again as it changes
  policy::Settings settings;          // bound everybody, beside the AgentPolicies
  std::string address = "0.0.0.0";
  std::uint16_t port = 8443;
  std::string metrics_address = "0.0.0.0";
  std::uint16_t metrics_port = 8080;
  std::string ns;
  std::vector<std::string> namespaces;  // whose agents are served; empty: all
  std::string service = "palisade-gateway";
  std::string secret = "palisade-gateway-tls";
  std::string trust = "palisade-gateway-ca";
  std::string lease = "palisade-gateway";
  std::vector<std::string> extra_names;
  std::chrono::milliseconds overlap{5 * 60'000};  // of certificates
  int threads = 1;
  std::chrono::milliseconds drain{30'000};
};

class App {
 public:
  App(const kube::Config& config, kube::Client::TransportKind transport, AppOptions options);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  // Throws std::runtime_error: a configuration that is wrong, a port that is taken, no certificate.
  void start();
  // Not ready first; then no new connections, what is under way gets `drain` to end; then what is
  // left of the budgets goes back.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
