// `palisade scan` on what a real API server holds. It may change nothing.
#include "cli/cluster.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using testing::has;
namespace known = kube::resources;

class Scan : public testing::ClusterTest {
 protected:
  json report(const std::string& arguments, int status) const {
    const auto result = run("scan -o json " + arguments);
    EXPECT_EQ(result.status, status) << result.out << result.err;
    return json::parse(result.out);
  }
  static std::string version_of(const std::string& ns, const std::string& pod) {
    return admin_->get(known::kPods, ns, pod)->at("metadata").at("resourceVersion");
  }
};

TEST_F(Scan, TellsWhatWouldBeRejectedAndChangesNothing) {
  make_namespace("scan-a");
  close_network("scan-a");
  make(known::kPods, "scan-a", pod("good"));
  make(known::kPods, "scan-a", bad_pod("bad"));
  json worse = bad_pod("worse");
  worse["spec"].erase("activeDeadlineSeconds");
  worse["spec"].erase("hostUsers");
  make(known::kPods, "scan-a", worse);
  make_namespace("scan-b", {{"palisade.dev/mode", "warn"}});
  close_network("scan-b");
  make(known::kPods, "scan-b", bad_pod("bad"));
  make_namespace("scan-off", {{"palisade.dev/enforce", "off"}});
  make(known::kPods, "scan-off", bad_pod("bad"));
  const std::string before = version_of("scan-a", "worse");

  const json found = report("", 1);
  EXPECT_EQ(found.at("namespaces"), json::parse(R"([
      {"namespace": "scan-a", "enforce": "agents", "mode": "enforce", "judged": 3, "rejected": 2,
       "findings": 4, "tolerated": 0},
      {"namespace": "scan-b", "enforce": "agents", "mode": "warn", "judged": 1, "rejected": 0,
       "findings": 0, "tolerated": 1}])"));
  EXPECT_EQ(found.at("off"), json({"scan-off"}));
  EXPECT_EQ(found.at("offenders").at(0).at("name"), "worse");
  EXPECT_EQ(found.at("offenders").at(0).at("findings"), 3);
  EXPECT_EQ(found.at("controls").size(), 3U);
  EXPECT_EQ(version_of("scan-a", "worse"), before);

  const auto text = run("scan --top 1");
  EXPECT_EQ(text.status, 1);
  EXPECT_TRUE(has(text.out, "NAMESPACE  ENFORCE  MODE ")) << text.out;
  EXPECT_TRUE(has(text.out, "read-only-root-filesystem")) << text.out;
  EXPECT_TRUE(has(text.out, "Pod scan-a/worse: 3 findings (")) << text.out;
  EXPECT_TRUE(has(text.out, "... and 1 more (--top 2)")) << text.out;
  EXPECT_TRUE(has(text.out, "palisade.dev/enforce=off: scan-off\n")) << text.out;
  EXPECT_TRUE(has(text.out, "4 objects judged, 2 would be rejected (4 findings)\n")) << text.out;

  EXPECT_EQ(report("-n scan-b", 0).at("summary").at("judged"), 1);
  EXPECT_EQ(report("-n scan-a --skip read-only-root-filesystem --skip user-namespace --skip "
                   "bounded-lifetime",
                   0)
                .at("summary")
                .at("rejected"),
            0);
}

TEST_F(Scan, PoliciesAndExceptionsOfTheClusterCount) {
  install_crds({"agentpolicies", "hardeningexceptions"});
  const kube::Resource policies{"palisade.dev", "v1alpha1", "agentpolicies", "AgentPolicy", false};
  const kube::Resource exceptions{"palisade.dev", "v1alpha1", "hardeningexceptions",
                                  "HardeningException", false};
  make_namespace("scan-bound", {{"team", "bound"}});
  close_network("scan-bound");
  make(known::kPods, "scan-bound", pod("good"));
  make(known::kPods, "scan-bound", bad_pod("bad"));
  EXPECT_EQ(report("-n scan-bound", 1).at("summary").at("findings"), 1);
  make(exceptions, "",
       {{"metadata", {{"name", "legacy"}}},
        {"spec",
         {{"namespaces", {"scan-bound"}},
          {"controls", {"read-only-root-filesystem"}},
          {"reason", "moves next month"},
          {"ticket", "OPS-1"},
          {"approver", "jane"},
          {"expires", "2099-01-01T00:00:00Z"}}}});
  const auto wide = run("scan -o wide -n scan-bound");
  EXPECT_EQ(wide.status, 0);
  EXPECT_TRUE(has(wide.out, "LET THROUGH  MAX LIFETIME  REGISTRIES  EXCEPTIONS\n")) << wide.out;
  EXPECT_TRUE(has(wide.out, "          1  86400s        any         legacy\n")) << wide.out;
  EXPECT_FALSE(has(run("scan -n scan-bound").out, "EXCEPTIONS"));
  const json excepted = report("-n scan-bound", 0);
  EXPECT_EQ(excepted.at("summary").at("tolerated"), 1);
  make(policies, "",
       {{"metadata", {{"name", "short"}}},
        {"spec",
         {{"namespaceSelector", {{"matchLabels", {{"team", "bound"}}}}}, {"maxLifetime", "1h"}}}});
  const json bounded = report("-n scan-bound", 1);
  EXPECT_EQ(bounded.at("controls").at(0).at("control"), "bounded-lifetime");
  EXPECT_EQ(bounded.at("summary").at("rejected"), 2);
}

TEST_F(Scan, AClusterThatCannotBeReadIsNotClean) {
  const auto result = run("scan --kubeconfig '" + nobody() + "'");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "this user lacks the right")) << result.err;
}

}  // namespace
}  // namespace palisade::cli
