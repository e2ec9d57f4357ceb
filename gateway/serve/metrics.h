// What the gateway counts, for Prometheus. No label has values that a caller, a workspace or a
// model could make up.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include <gateway/core/services.h>

namespace prometheus {
class Registry;
}

namespace palisade::gateway {

// Counts what is recorded, and passes it on.
class MeteredRecord : public Record {
 public:
  // `registry` outlives it.
  MeteredRecord(std::shared_ptr<Record> next, prometheus::Registry& registry);
  ~MeteredRecord() override;
  void write(nlohmann::json line) override;
  void write_text(const Counted& counted, std::string line) override;

  // Requests that are being answered.
  void begin();
  void end();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
