#include <gateway/archive/directory.h>
#include <gateway/archive/s3.h>
#include <gateway/git/proxy.h>
#include <gateway/llm/proxy.h>
#include <spdlog/spdlog.h>

#include "routes.h"

namespace palisade::gateway {

namespace {

std::shared_ptr<archive::Store> store_of(const GatewayConfig& config) {
  if (!config.archive) return nullptr;
  if (config.archive->s3)
    return std::make_shared<archive::S3Store>(
        *config.archive, [](const std::string& what) { spdlog::error("archive: {}", what); });
  return std::make_shared<archive::DirectoryStore>(*config.archive);
}

class AllSides : public Sides {
 public:
  AllSides(const GatewayConfig& config, const Services& services,
           const archive::ArchiveCounting& counting)
      : llm_(config.llm, services),
        git_(config.git, services),
        archive_(store_of(config), services, counting) {}
  Task<void> llm(Exchange& exchange, const Caller& caller) override {
    return llm_.handle(exchange, caller);
  }
  Task<void> git(Exchange& exchange, const Caller& caller) override {
    return git_.handle(exchange, caller);
  }
  Task<void> archive(Exchange& exchange, const Caller& caller) override {
    return archive_.handle(exchange, caller);
  }

 private:
  llm::LlmProxy llm_;
  git::GitProxy git_;
  archive::Archive archive_;
};

}  // namespace

std::shared_ptr<Sides> make_sides(const GatewayConfig& config, const Services& services,
                                  const archive::ArchiveCounting& counting) {
  return std::make_shared<AllSides>(config, services, counting);
}

}  // namespace palisade::gateway
