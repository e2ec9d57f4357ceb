// The path to a next version of the resource, as docs/upgrading.md tells it: a second version is
// served beside the first, becomes the stored one, objects are rewritten, and the first one goes.
#include <chrono>
#include <functional>
#include <thread>

#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "definitions.h"
#include "operator/fixture.h"

namespace palisade::op::testing {
namespace {

using kube::Client;
using kube::EnvTest;

const kube::Resource kDefinitions{"apiextensions.k8s.io", "v1", "customresourcedefinitions",
                                  "CustomResourceDefinition", false};
const kube::Resource kNext{"palisade.dev", "v1alpha2", "agentworkspaces", kKind, true};
constexpr const char* kName = "agentworkspaces.palisade.dev";

void eventually(const std::string& what, const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  while (!holds()) {
    ASSERT_LT(std::chrono::steady_clock::now(), end) << what;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

class Versions : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    const auto installed = install_definitions(*env_, {"agentworkspaces"});
    ASSERT_TRUE(installed) << installed.error().text();
    client_ = Client::connect(env_->config(), Client::TransportKind::kBeast);
  }

  [[nodiscard]] Json definition() const {
    auto found = client_->get(kDefinitions, "", kName);
    return found ? *found : Json();
  }
  // The error's text; "" where it was taken. Others (the API server's controllers) write it too.
  [[nodiscard]] std::string change(const std::function<void(Json&)>& how) const {
    for (int i = 0; i < 20; ++i) {
      Json changed = definition();
      how(changed);
      auto written = client_->update(kDefinitions, "", kName, changed);
      if (written) return {};
      if (written.error().code != 409) return written.error().text();
    }
    return "conflicts without end";
  }
  [[nodiscard]] Json object(const kube::Resource& resource, const std::string& name) const {
    auto found = client_->get(resource, "default", name);
    return found ? *found : Json();
  }
  // Read and written back as it is.
  [[nodiscard]] Json rewritten(const std::string& name) const {
    auto written = client_->update(kNext, "default", name, object(kNext, name));
    EXPECT_TRUE(written) << written.error().text();
    return written ? *written : Json();
  }

  std::unique_ptr<EnvTest> env_;
  std::unique_ptr<Client> client_;
};

TEST_F(Versions, NextOneTakesOverAndObjectsSurvive) {
  Json old = usual_workspace();
  old["metadata"] = {{"name", "old"}, {"namespace", "default"}, {"finalizers", {kFinalizer}}};
  const auto made = client_->create(workspaces(), "default", old);
  ASSERT_TRUE(made) << made.error().text();
  const Json status{{"status", {{"phase", "Running"}, {"restarts", 2}}}};
  const auto told =
      client_->patch(workspaces(), "default", "old", kube::PatchType::kMerge, status, "status", {});
  ASSERT_TRUE(told) << told.error().text();
  ASSERT_EQ(definition()["spec"].value("conversion", Json{{"strategy", "None"}})["strategy"],
            "None");

  // 1. Served beside the first, with a field more.
  ASSERT_EQ(change([](Json& crd) {
              Json next = crd["spec"]["versions"][0];
              next["name"] = "v1alpha2";
              next["storage"] = false;
              next["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["note"] = {
                  {"type", "string"}};
              crd["spec"]["versions"].push_back(next);
            }),
            "");
  eventually("the next version is served", [&] { return !object(kNext, "old").is_null(); });
  const Json seen = object(kNext, "old");
  EXPECT_EQ(seen["apiVersion"], "palisade.dev/v1alpha2");
  EXPECT_EQ(seen["spec"], (*made)["spec"]);
  EXPECT_EQ(seen["status"], status["status"]);
  EXPECT_EQ(seen["metadata"]["uid"], (*made)["metadata"]["uid"]);
  EXPECT_EQ(rewritten("old")["metadata"]["resourceVersion"], seen["metadata"]["resourceVersion"])
      << "nothing to rewrite yet";

  // 2. It becomes the stored one.
  ASSERT_EQ(change([](Json& crd) {
              crd["spec"]["versions"][0]["storage"] = false;
              crd["spec"]["versions"][1]["storage"] = true;
            }),
            "");
  eventually("both are on record as stored",
             [&] { return definition()["status"]["storedVersions"].size() == 2; });
  const auto without_first = [](Json& crd) { crd["spec"]["versions"].erase(0); };
  EXPECT_NE(change(without_first).find("storedVersions"), std::string::npos)
      << "the first one went while objects may be stored in it";

  // 3. Every object is rewritten; what was rewritten is not written again. The API server takes a
  // moment to store in the new version.
  Json moved;
  eventually("the object is stored anew", [&] {
    moved = rewritten("old");
    return moved["metadata"]["resourceVersion"] != seen["metadata"]["resourceVersion"];
  });
  EXPECT_EQ(rewritten("old")["metadata"]["resourceVersion"], moved["metadata"]["resourceVersion"]);
  EXPECT_EQ(moved["metadata"]["generation"], seen["metadata"]["generation"])
      << "a rewrite is no wish";

  // 4. The first one is no longer served, is forgotten as stored, and goes.
  ASSERT_EQ(change([](Json& crd) { crd["spec"]["versions"][0]["served"] = false; }), "");
  eventually("the first one is not served", [&] { return object(workspaces(), "old").is_null(); });
  const Json only{{"status", {{"storedVersions", {"v1alpha2"}}}}};
  const auto forgotten =
      client_->patch(kDefinitions, "", kName, kube::PatchType::kMerge, only, "status", {});
  ASSERT_TRUE(forgotten) << forgotten.error().text();
  ASSERT_EQ(change(without_first), "");
  const Json after = object(kNext, "old");
  ASSERT_FALSE(after.is_null());
  for (const char* part : {"spec", "status"})
    EXPECT_EQ(after[part], seen[part]) << part;
  EXPECT_EQ(after["metadata"]["uid"], seen["metadata"]["uid"]);
  EXPECT_EQ(after["metadata"]["finalizers"], Json({kFinalizer}));
}

}  // namespace
}  // namespace palisade::op::testing
