// Watches, queues and reconciles: gather, decide, execute, record.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include <kube/client.h>
#include <kube/tracing.h>
#include <operator/decide.h>
#include <operator/gather.h>

namespace prometheus {
class Registry;
}

namespace palisade::op {

struct ControllerOptions {
  Config config;
  // Empty: workspaces of all namespaces. Otherwise of these alone, with no right on namespaced
  // kinds beyond them, but for the gateway's own namespace and the Services that endpoints name.
  // One that cannot be watched holds up none of the others.
  std::vector<std::string> namespaces = {};
  std::map<std::string, std::string> gateways;
  // Services, NAMESPACE/NAME, whose EndpointSlices may be listed: no session may reach their pods,
  // and guard tries some of them before an agent starts.
  std::vector<std::string> unreachable = {};
  int workers = 16;
  // What a setup has made is removed once no workspace has used it for so long.
  std::chrono::seconds setup_unused = std::chrono::hours(168);
  Resolver resolver = resolve_host;
  tokens::TransportFactory transports = nullptr;  // to git hosts' APIs; null: the usual
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
  std::string instance = "palisade-operator";
  std::shared_ptr<kube::Tracer> tracer =
      nullptr;  // each look at a workspace is a trace; may be null
};

class Controller {
 public:
  Controller(std::shared_ptr<const kube::Client> client, ControllerOptions options,
             prometheus::Registry& registry);
  ~Controller();  // stops
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  // Watches and nothing else, so that lead() finds everything known.
  void watch();
  // Workers, and what else writes, begin. Once; after stop() nothing. Thread-safe, does not block.
  void lead();
  void start() {
    watch();
    lead();
  }
  void stop();  // ends what writes, then watches, within seconds
  // Whether a watch has told of the workspace (NAMESPACE/NAME) with that uid.
  [[nodiscard]] bool has(const std::string& workspace, const std::string& uid) const;
  [[nodiscard]] bool ready() const;           // every watch of every namespace has its first list
  [[nodiscard]] std::string trouble() const;  // what a watch complains of; "" while healthy
  // A watch that has been silent, or a workspace that has been looked at, for longer than can be;
  // "" otherwise.
  [[nodiscard]] std::string stuck() const;
  // Sets the metrics that are measured and not counted.
  void measure();
  // The queue and the watches as JSON, for people.
  [[nodiscard]] std::string debug() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::op
