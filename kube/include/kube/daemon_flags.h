// The command line options that every long-running program has. Needs CLI11.
#pragma once

#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>
#include <kube/client.h>

namespace kube {

struct DaemonFlags {
  std::string kubeconfig;
  std::string metrics_address = "0.0.0.0";
  std::uint16_t metrics_port = 8080;
  std::string transport = "cpprest";
  std::string log_level = "info";

  [[nodiscard]] Client::TransportKind transport_kind() const {
    return transport == "beast" ? Client::TransportKind::kBeast : Client::TransportKind::kCpprest;
  }
};

// `flags` outlives the parsing of `app`.
inline void add_daemon_flags(CLI::App& app, DaemonFlags& flags) {
  app.add_option("--kubeconfig", flags.kubeconfig,
                 "kubeconfig file; in a cluster the pod's ServiceAccount is used");
  app.add_option("--metrics-address", flags.metrics_address,
                 "address of /metrics, /healthz and /readyz")
      ->capture_default_str();
  app.add_option("--metrics-port", flags.metrics_port, "port of /metrics, /healthz and /readyz")
      ->capture_default_str();
  app.add_option("--transport", flags.transport, "HTTP client towards the API server")
      ->check(CLI::IsMember({"cpprest", "beast"}))
      ->capture_default_str();
  app.add_option("--log-level", flags.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
}

}  // namespace kube
