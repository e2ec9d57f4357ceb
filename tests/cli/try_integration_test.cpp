// `palisade doctor --try`, on a real API server: without a guard, with one that does not answer,
// and with one that the API server is itself.
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "cli/cluster.h"

namespace palisade::cli::testing {
namespace {

using namespace std::chrono_literals;

class Try : public ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    install_crds({"agentworkspaces"});
  }
  // Until the API server has heard of what was written a moment ago.
  Result tried(const std::string& ns, const std::string& until) const {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (true) {
      Result result = run("doctor --try " + ns);
      if (has(result.out, until) || std::chrono::steady_clock::now() > deadline) return result;
      std::this_thread::sleep_for(200ms);
    }
  }
};

TEST_F(Try, AClusterWithoutAGuardIsFoundOut) {
  make_namespace("open");
  const Result result = run("doctor --try open -o json");
  EXPECT_EQ(result.status, 1) << result.out << result.err;
  const json report = json::parse(result.out);
  ASSERT_EQ(report.at("checks").size(), 3U);
  EXPECT_EQ(report.at("checks")[0].at("level"), "problem");
  EXPECT_TRUE(has(report.at("checks")[0].at("message"), "nobody wrote down who creates"));
  EXPECT_EQ(report.at("checks")[1].at("level"), "problem");
  EXPECT_TRUE(has(report.at("checks")[1].at("message"), "would be let in to open"));
  EXPECT_EQ(report.at("checks")[2].at("level"), "ok");
  // Nothing stays of it.
  EXPECT_FALSE(admin_->get(kube::resources::kPods, "open", "palisade-doctor"));
}

TEST_F(Try, ANamespaceThatIsNotThereIsNoGoodSign) {
  const Result result = run("doctor --try nowhere");
  EXPECT_EQ(result.status, 1) << result.out;
  EXPECT_TRUE(has(result.out, "3 problems")) << result.out;
  EXPECT_EQ(run("doctor --try nowhere --only rights").status, 2);
}

TEST_F(Try, OneWithoutRightsIsTold) {
  const Result result = run("doctor --try default --kubeconfig '" + nobody() + "'");
  EXPECT_EQ(result.status, 1) << result.out;
  EXPECT_TRUE(has(result.out, "3 problems")) << result.out;
}

TEST_F(Try, AGuardThatDoesNotAnswerIsNone) {
  make_namespace("away");
  const kube::Resource& kind = kube::resources::kValidatingWebhookConfigurations;
  make(kind, "",
       {{"metadata", {{"name", "away"}}},
        {"webhooks",
         {{{"name", "pods.palisade.dev"},
           {"admissionReviewVersions", {"v1"}},
           {"sideEffects", "None"},
           {"failurePolicy", "Fail"},
           {"timeoutSeconds", 1},
           {"clientConfig", {{"url", "https://127.0.0.1:1/validate"}}},
           {"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", "away"}}}}},
           {"rules",
            {{{"apiGroups", {""}},
              {"apiVersions", {"v1"}},
              {"resources", {"pods"}},
              {"operations", {"CREATE"}}}}}}}}});
  const Result result = tried("away", "nobody judges");
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(has(result.out, "nobody judges an Aider pod in away")) << result.out;
  EXPECT_TRUE(has(result.out, "an ordinary pod does not pass in away")) << result.out;
  EXPECT_TRUE(admin_->remove(kind, "", "away"));
}

TEST_F(Try, AGuardThatRefusesIsOne) {
  make_namespace("guarded");
  const Result policies = run("render vap");
  ASSERT_EQ(policies.status, 0) << policies.err;
  const std::string file = write("vap.yaml", policies.out);
  const std::string kubectl = std::string(std::getenv("PALISADE_TOOLS_BIN")) + "/kubectl";
  ASSERT_EQ(std::system(("'" + kubectl + "' apply -f '" + file + "' >/dev/null").c_str()), 0);
  const Result result = tried("guarded", "is refused in guarded");
  EXPECT_TRUE(
      has(result.out, "ok      try: an Aider pod without the hardening is refused in guarded\n"))
      << result.out;
  EXPECT_TRUE(has(result.out, "ok      try: an ordinary pod passes in guarded")) << result.out;
  // What no policy can do: the webhook records creators.
  EXPECT_TRUE(has(result.out, "nobody wrote down who creates")) << result.out;
  EXPECT_EQ(result.status, 1);
}

}  // namespace
}  // namespace palisade::cli::testing
