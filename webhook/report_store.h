// The reports as the API server holds them: which API they are written to, what they say, and
// writes that only happen where something differs. For one thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <kube/client.h>

#include "scan_report.h"

namespace palisade::webhook {

// A text of an object's metadata; "" where there is none.
[[nodiscard]] std::string metadata_text(const kube::Json& object, const char* key);

class ReportStore {
 public:
  explicit ReportStore(std::shared_ptr<const kube::Client> client) : client_(std::move(client)) {}

  // Which report API is served, and what reports of ours it holds; those of an API that is not
  // written to any more are removed.
  [[nodiscard]] kube::Result<void> discover(const std::stop_token& stop);
  void forget();                       // all that is known: another leads
  void forget(const std::string& ns);  // the namespace has gone

  [[nodiscard]] std::vector<std::string> namespaces() const;  // that have a report
  // The results of the report as it is; an empty list where there is none.
  [[nodiscard]] kube::Json results(const std::string& ns) const;
  // nullptr: there should be none.
  [[nodiscard]] bool would_change(const std::string& ns, const Report* report) const;

  // Both fail with a conflict where somebody else has written since, and know what that was after.
  [[nodiscard]] kube::Result<void> write(const std::string& ns, const Report& report,
                                         const std::stop_token& stop);
  [[nodiscard]] kube::Result<void> remove(const std::string& ns, const std::stop_token& stop);

 private:
  struct Held {
    std::string uid;
    std::string version;
    std::string text;  // what would_change() compares
  };
  [[nodiscard]] kube::Result<void> read_all(const kube::Resource& api, const std::stop_token& stop);
  [[nodiscard]] kube::Result<void> remove_all(const kube::Resource& api,
                                              const std::stop_token& stop);
  void read_one(const std::string& ns, const std::stop_token& stop);

  const std::shared_ptr<const kube::Client> client_;
  const kube::Resource* api_ = nullptr;  // none is served
  std::map<std::string, Held> held_;     // by namespace
};

}  // namespace palisade::webhook
