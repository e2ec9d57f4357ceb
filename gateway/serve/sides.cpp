#include <gateway/git/proxy.h>
#include <gateway/llm/proxy.h>

#include "routes.h"

namespace palisade::gateway {

namespace {

class BothSides : public Sides {
 public:
  BothSides(const GatewayConfig& config, const Services& services)
      : llm_(config.llm, services), git_(config.git, services) {}
  Task<void> llm(Exchange& exchange, const Caller& caller) override {
    return llm_.handle(exchange, caller);
  }
  Task<void> git(Exchange& exchange, const Caller& caller) override {
    return git_.handle(exchange, caller);
  }

 private:
  llm::LlmProxy llm_;
  git::GitProxy git_;
};

}  // namespace

std::shared_ptr<Sides> make_sides(const GatewayConfig& config, const Services& services) {
  return std::make_shared<BothSides>(config, services);
}

}  // namespace palisade::gateway
