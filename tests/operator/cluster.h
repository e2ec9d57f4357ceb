// The controller against a real API server, with no more rights than the chart gives it. There is
// no kubelet, no scheduler and no garbage collector: the test plays the kubelet, and what is gone
// was deleted by the controller.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <kube/client.h>
#include <kube/envtest.h>
#include <operator/controller.h>

#include "operator/fixture.h"

namespace palisade::op::testing {

// An event of a watch, in the order of the store: resource versions count up over all kinds.
struct Change {
  std::uint64_t version = 0;
  kube::WatchEventType type = kube::WatchEventType::kAdded;
  std::string kind;
  Json object;
};

// Everything that happens to the objects of one namespace from here on.
class Recorder {
 public:
  Recorder(std::shared_ptr<const kube::Client> client, const std::string& ns);
  // In the order of the store.
  [[nodiscard]] std::vector<Change> changes() const;
  // The version of the first such event; 0 where there was none.
  [[nodiscard]] std::uint64_t first(
      const std::string& kind, kube::WatchEventType type,
      const std::function<bool(const Json&)>& which = [](const Json&) { return true; }) const;

 private:
  mutable std::mutex mutex_;
  std::vector<Change> changes_;
  std::vector<std::jthread> threads_;
};

class ControllerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  void SetUp() override;

  static ControllerOptions usual_options();
  static std::unique_ptr<Controller> make_controller(prometheus::Registry& registry,
                                                     ControllerOptions options = usual_options());

  // A workspace of this test's namespace, with the Secret that it names.
  Json workspace(const std::string& name = "fix-login") const;
  // The same with Palisade's own gateway for LLM and git.
  Json through_gateway(const std::string& name = "fix-login") const;
  void make_secret(const std::string& token = "token-1", const std::string& name = "app-git-token");
  Json make(const Json& workspace);
  Json make(const kube::Resource& resource, Json object);

  // The object, or null where there is none.
  [[nodiscard]] Json find(const kube::Resource& resource, const std::string& name) const;
  [[nodiscard]] Json pod(const std::string& name = "fix-login-agent") const {
    return find(kube::resources::kPods, name);
  }
  [[nodiscard]] Json status(const std::string& name = "fix-login") const;
  [[nodiscard]] Json condition(const std::string& type,
                               const std::string& name = "fix-login") const;
  // Whether an event of that reason was told of the workspace.
  [[nodiscard]] bool told(const std::string& reason, const std::string& name = "fix-login") const;

  Json patch(const kube::Resource& resource, const std::string& name, const Json& change,
             const std::string& subresource = "");
  // Has the workspace looked at again now, as its timer would later.
  void nudge(const std::string& name = "fix-login");
  void remove(const kube::Resource& resource, const std::string& name, bool at_once = false);

  // Waits until `holds` (most often at once; 40 s where the machine is busy).
  void eventually(const std::string& what, const std::function<bool()>& holds) const;
  void await_condition(const std::string& type, const std::string& value, const std::string& reason,
                       const std::string& name = "fix-login") const;
  // Waits until the pod is there and free to be scheduled, and returns it.
  Json await_pod(const std::string& name = "fix-login-agent", const std::string& not_uid = "");

  // What the scheduler and the kubelet would do. A bound pod that is deleted stays until
  // finish_deletion().
  void bind(const std::string& name = "fix-login-agent");
  void set_status(const Json& status, const std::string& name = "fix-login-agent");
  void run(const std::string& name = "fix-login-agent");
  // Aider has ended and the courier says `report`.
  void end(const std::string& phase, const std::string& report,
           const std::string& name = "fix-login-agent");

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<const kube::Client> admin_;
  static inline kube::Config operator_config_;
  static inline std::unique_ptr<prometheus::Registry> registry_;
  static inline std::unique_ptr<Controller> controller_;
  std::string ns_;
};

}  // namespace palisade::op::testing
