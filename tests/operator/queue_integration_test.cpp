// AgentPolicies' spec.limits.maxRunning with a real API server.
#include <set>

#include <gmock/gmock.h>

#include <operator/gather.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using ::testing::HasSubstr;

class QueueTest : public ControllerTest {
 protected:
  void SetUp() override {
    ControllerTest::SetUp();
    make_secret();
  }
  void TearDown() override {
    for (const std::string& name : policies_)
      EXPECT_TRUE(admin_->remove(agent_policies(), "", name, {}));
  }

  void limit(int most, const std::string& suffix = "") {
    const std::string name = "limit-" + ns_ + suffix;
    policies_.push_back(name);
    const auto made = admin_->create(
        agent_policies(), "",
        {{"apiVersion", kApiVersion},
         {"kind", "AgentPolicy"},
         {"metadata", {{"name", name}}},
         {"spec",
          {{"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", ns_}}}}},
           {"limits", {{"maxRunning", most}}}}}});
    ASSERT_TRUE(made) << made.error().text();
  }

  void patch_limit(int most) {
    const auto done = admin_->patch(agent_policies(), "", "limit-" + ns_, kube::PatchType::kMerge,
                                    {{"spec", {{"limits", {{"maxRunning", most}}}}}});
    ASSERT_TRUE(done) << done.error().text();
  }

  // The policy is in the operator's cache: what it lets nobody do is refused.
  void await_limit() {
    make(workspace("probe"));
    await_condition("Ready", "False", "Queued", "probe");
    remove(workspaces(), "probe");
    eventually("the probe has gone", [&] { return find(workspaces(), "probe").is_null(); });
  }

  [[nodiscard]] std::set<std::string> with_pods() const {
    kube::ListOptions list;
    list.ns = ns_;
    std::set<std::string> out;
    const auto found = admin_->list(kPods, list);
    if (!found) throw std::runtime_error(found.error().text());
    for (const Json& pod : found->items) {
      if (pod.value("status", Json::object()).value("phase", "") != "Succeeded")
        out.insert(pod["metadata"]["labels"]["palisade.dev/workspace"]);
    }
    return out;
  }

  void await_running(const std::set<std::string>& names) const {
    std::string what;
    for (const std::string& name : names)
      what += " " + name;
    eventually("these run:" + what, [&] { return with_pods() == names; });
  }

  void await_place(const std::string& name, int position, int of) const {
    eventually(name + " is number " + std::to_string(position), [&] {
      return status(name).value("queue", Json()) == Json{{"position", position}, {"of", of}};
    });
  }

  void finish(const std::string& name) {
    end("Succeeded", R"({"commits": 0, "pushed": true})", name + "-agent");
  }

  // The most pods that were there at one instant and had not ended.
  static std::size_t most_at_once(const Recorder& recorder) {
    std::set<std::string> there;
    std::size_t most = 0;
    for (const Change& change : recorder.changes()) {
      if (change.kind != "Pod") continue;
      const std::string name = change.object["metadata"]["name"];
      const Json state = change.object.value("status", Json::object());
      if (change.type == kube::WatchEventType::kDeleted ||
          state.value("phase", "") == "Succeeded") {
        there.erase(name);
      } else {
        there.insert(name);
      }
      most = std::max(most, there.size());
    }
    return most;
  }

  std::vector<std::string> policies_;
};

TEST_F(QueueTest, OneAfterTheOtherInOrderNeverTooMany) {
  limit(5, "-lax");
  limit(0);
  await_limit();
  const Recorder recorder(admin_, ns_);
  // All at one instant, as far as the operator can tell: none starts yet.
  for (const char* name : {"d", "b", "a", "c"})
    make(workspace(name));
  for (const char* name : {"a", "b", "c", "d"})
    await_condition("Ready", "False", "Queued", name);
  EXPECT_THAT(condition("Ready", "a")["message"].get<std::string>(),
              HasSubstr("AgentPolicy limit-" + ns_ + " lets 0"));
  eventually("an event tells of it", [&] { return told("Queued", "a"); });
  EXPECT_TRUE(find(kConfigMaps, "a-agent").is_null());

  // The order of what came in one second is that of the names.
  std::vector<std::pair<std::string, std::string>> order;
  for (const char* name : {"a", "b", "c", "d"})
    order.emplace_back(find(workspaces(), name)["metadata"]["creationTimestamp"], name);
  std::ranges::sort(order);
  const auto nth = [&](std::size_t i) { return order.at(i).second; };
  patch_limit(1);
  await_running({nth(0)});
  await_place(nth(1), 1, 3);
  await_place(nth(3), 3, 3);
  run(nth(0) + "-agent");
  await_condition("Ready", "True", "Working", nth(0));
  EXPECT_FALSE(status(nth(0)).contains("queue"));
  finish(nth(0));
  await_running({nth(1)});
  await_place(nth(2), 1, 2);

  // What is suspended does not count, and stands in line again when it is to go on.
  patch(workspaces(), nth(1), {{"spec", {{"lifecycle", {{"suspend", true}}}}}});
  await_running({nth(2)});
  patch(workspaces(), nth(1), {{"spec", {{"lifecycle", {{"suspend", false}}}}}});
  await_place(nth(1), 1, 2);
  await_place(nth(3), 2, 2);
  remove(workspaces(), nth(2));
  await_running({nth(1)});
  EXPECT_EQ(most_at_once(recorder), 1U);
  patch_limit(2);
  await_running({nth(1), nth(3)});
  EXPECT_LE(most_at_once(recorder), 2U);
}

TEST_F(QueueTest, WhatCannotStartHoldsNobodyUp) {
  limit(0);
  await_limit();
  patch_limit(1);
  Json first = workspace("a");
  first["spec"]["repository"]["credentials"]["secretRef"]["name"] = "missing";
  make(first);
  await_condition("CredentialsReady", "False", "SecretNotFound", "a");
  make(workspace("b"));
  await_running({"b"});
  make_secret("token", "missing");
  nudge("a");
  await_condition("Ready", "False", "Queued", "a");
  finish("b");
  await_running({"a"});
}

TEST_F(QueueTest, ARestartedOperatorStartsNoMore) {
  limit(0);
  await_limit();
  patch_limit(2);
  const Recorder recorder(admin_, ns_);
  for (int i = 0; i < 6; ++i)
    make(workspace("w" + std::to_string(i)));
  eventually("two run", [&] { return with_pods().size() == 2; });
  controller_.reset();
  registry_ = std::make_unique<prometheus::Registry>();
  controller_ = make_controller(*registry_);
  controller_->start();
  const std::string name = *with_pods().begin();
  run(name + "-agent");
  await_condition("Ready", "True", "Working", name);
  finish(name);
  eventually("another one runs",
             [&] { return with_pods().size() == 2 && !with_pods().contains(name); });
  EXPECT_EQ(most_at_once(recorder), 2U);
}

}  // namespace
}  // namespace palisade::op::testing
