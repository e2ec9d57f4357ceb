// Watches, queues and reconciles: gather, decide, execute, record.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include <kube/client.h>
#include <operator/decide.h>
#include <operator/gather.h>

namespace prometheus {
class Registry;
}

namespace palisade::op {

struct ControllerOptions {
  Config config;
  std::map<std::string, std::string> gateways;
  int workers = 4;
  Resolver resolver = resolve_host;
  std::string instance = "palisade-operator";
};

class Controller {
 public:
  Controller(std::shared_ptr<const kube::Client> client, ControllerOptions options,
             prometheus::Registry& registry);
  ~Controller();  // stops
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  void start();
  void stop();                                // ends workers and watches within seconds
  [[nodiscard]] bool ready() const;           // every watch has its first list
  [[nodiscard]] std::string trouble() const;  // what a watch complains of; "" while healthy

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::op
