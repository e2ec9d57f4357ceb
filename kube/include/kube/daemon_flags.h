// The command line options that every long-running program has. Needs CLI11.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

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

// Which namespaces a program keeps to; `namespaces` outlives the parsing of `app`, and stays empty
// where the flag is not given: all. A list with an empty name is refused, and never means all:
// CLI11's own lists would leave that name out.
inline void add_watch_namespaces_flag(CLI::App& app, std::vector<std::string>& namespaces) {
  constexpr const char* kFlag = "--watch-namespaces";
  const auto read = [&namespaces](const CLI::results_t& given) {
    namespaces.clear();
    for (const std::string& list : given) {
      for (std::size_t from = 0, end = 0; end != std::string::npos; from = end + 1) {
        end = list.find(',', from);
        const std::string name = list.substr(from, end - from);
        if (name.empty() || name.size() > 63 || name.front() == '-' || name.back() == '-' ||
            name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string::npos)
          throw CLI::ValidationError(
              kFlag,
              "\"" + name +
                  "\" is no namespace: lower case letters, digits and -, at most 63 of them");
        namespaces.push_back(name);
      }
    }
    return !namespaces.empty();
  };
  app.add_option(kFlag, read,
                 "the only namespaces whose workspaces are its business, a,b,c; may be repeated; "
                 "without it all are")
      ->type_name("NAMESPACES")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

}  // namespace kube
