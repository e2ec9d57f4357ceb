// `palisade check --live` on what a real API server holds.
#include <set>

#include "cli/cluster.h"
#include "cli/xml_check.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using testing::has;
namespace known = kube::resources;

const kube::Resource kDeployments{"apps", "v1", "deployments", "Deployment", true};
const kube::Resource kReplicaSets{"apps", "v1", "replicasets", "ReplicaSet", true};

class Live : public testing::ClusterTest {
 protected:
  static json workload(const std::string& name, json pod) {
    json labels = pod["metadata"]["labels"];
    pod["metadata"].erase("name");
    pod["metadata"].erase("annotations");
    pod["spec"]["restartPolicy"] = "Always";
    pod["spec"].erase("activeDeadlineSeconds");
    return {
        {"metadata", {{"name", name}}},
        {"spec",
         {{"replicas", 1}, {"selector", {{"matchLabels", labels}}}, {"template", std::move(pod)}}}};
  }
  json report(const std::string& arguments, int status) const {
    const auto result = run("check --live -o json " + arguments);
    EXPECT_EQ(result.status, status) << result.out << result.err;
    return json::parse(result.out);
  }
  static std::set<std::string> denied(const json& document) {
    std::set<std::string> out;
    for (const json& pod : document.at("pods")) {
      for (const json& finding : pod.at("findings")) {
        if (finding.at("effect") != "deny") continue;
        out.insert(
            pod.at("kind").get<std::string>() + " " + pod.at("namespace").get<std::string>() + "/" +
            pod.at("name").get<std::string>() + " " + finding.at("control").get<std::string>());
      }
    }
    return out;
  }
};

using Set = std::set<std::string>;

TEST_F(Live, PodsAndWorkloadsAreJudgedWhereTheyAre) {
  const auto ns = make_namespace("pods");
  close_network(ns);
  make(known::kPods, ns, pod("good"));
  make(known::kPods, ns, bad_pod("bad"));
  make(known::kPods, ns, plain_pod("web"));
  make(kDeployments, ns, workload("maker", bad_pod("x")));
  const json found = report("-n pods", 1);
  EXPECT_EQ(denied(found), (Set{"Deployment pods/maker bounded-lifetime",
                                "Deployment pods/maker read-only-root-filesystem",
                                "Pod pods/bad read-only-root-filesystem"}));
  EXPECT_EQ(found.at("summary").at("compliant"), 1);
  EXPECT_EQ(found.at("summary").at("notChecked"), 1);
  const auto text = run("check --live -n pods");
  EXPECT_TRUE(has(text.out, "\nPod pods/bad (Aider pod: ")) << text.out;
  EXPECT_TRUE(has(text.out,
                  "spec.template.spec.containers[0].securityContext.readOnlyRootFilesystem: false"))
      << text.out;
  EXPECT_TRUE(has(text.err, "note: judged by the default settings")) << text.err;
  const auto root = testing::XmlReader::read(run("check --live -n pods -o junit").out);
  EXPECT_EQ(root.attributes.at("failures"), "2");
  const json sarif = json::parse(run("check --live -n pods -o sarif").out);
  EXPECT_FALSE(sarif["runs"][0]["results"][0]["locations"][0].contains("physicalLocation"));
}

TEST_F(Live, NamespaceLabelsDecideWhatIsJudgedAndHow) {
  const auto in = [&](const char* name, const Labels& labels) {
    make_namespace(name, labels);
    close_network(name);
    make(known::kPods, name, bad_pod("bad"));
    make(known::kPods, name, plain_pod("web"));
  };
  in("off", {{"palisade.dev/enforce", "off"}});
  in("all", {{"palisade.dev/enforce", "all"}});
  in("typo", {{"palisade.dev/enforce", "of"}});
  in("warn", {{"palisade.dev/mode", "warn"}});
  in("one", {{"control.palisade.dev/read-only-root-filesystem", "audit"}});
  in("strict", {{"palisade.dev/mode", "warn"},
                {"control.palisade.dev/read-only-root-filesystem", "enforced"}});
  EXPECT_EQ(denied(report("-n off", 0)), Set{});
  EXPECT_EQ(denied(report("-n off --all --skip known-fields", 1))
                .count("Pod off/bad read-only-root-filesystem"),
            1U);
  for (const char* ns : {"all", "typo"}) {
    const Set found = denied(report(std::string("-n ") + ns, 1));
    EXPECT_TRUE(found.contains("Pod " + std::string(ns) + "/web run-as-non-root")) << ns;
    EXPECT_FALSE(found.contains("Pod " + std::string(ns) + "/web deny-all-network")) << ns;
  }
  const json warned = report("-n warn", 0);
  EXPECT_EQ(warned.at("pods").at(0).at("findings").at(0).at("effect"), "warn");
  EXPECT_EQ(warned.at("summary").at("tolerated"), 1);
  EXPECT_TRUE(
      has(run("check --live -n warn").out, "let through (mode warn): [read-only-root-filesystem]"));
  EXPECT_EQ(report("-n one", 0).at("pods").at(0).at("findings").at(0).at("effect"), "audit");
  EXPECT_EQ(denied(report("-n strict", 1)), Set{"Pod strict/bad read-only-root-filesystem"});
}

TEST_F(Live, WhomToActAsIsSaidAsWithKubectl) {
  const auto ns = make_namespace("as");
  close_network(ns);
  make(known::kPods, ns, pod("good"));
  const auto eve = run("check --live -n as --as eve");
  EXPECT_EQ(eve.status, 2) << eve.out << eve.err;
  EXPECT_TRUE(has(eve.err, "User \"eve\" cannot ")) << eve.err;
  EXPECT_EQ(run("check --live -n as --as eve --as-uid u-1 --as-group dev --as-group system:masters")
                .status,
            0);
  const auto nobodys = run("check --live -n as --as-group system:masters");
  EXPECT_EQ(nobodys.status, 2);
  EXPECT_TRUE(has(nobodys.err, "name the user too: --as")) << nobodys.err;
  EXPECT_EQ(run("check --as eve x.yaml").status, 2) << "of a cluster alone";
}

TEST_F(Live, AnOpenNetworkIsAFinding) {
  const auto ns = make_namespace("open");
  make(known::kPods, ns, pod("good"));
  EXPECT_EQ(denied(report("-n open", 1)), Set{"Pod open/good deny-all-network"});
  EXPECT_EQ(denied(report("-n open --skip deny-all-network", 0)), Set{});
  close_network(ns);
  EXPECT_EQ(denied(report("-n open", 0)), Set{});
}

TEST_F(Live, SelectorsNamespacesAndPages) {
  const auto ns = make_namespace("many");
  close_network(ns);
  for (int i = 0; i < 510; ++i)
    make(known::kPods, ns, plain_pod("web-" + std::to_string(i)));
  json labelled = bad_pod("bad");
  labelled["metadata"]["labels"]["team"] = "x";
  make(known::kPods, ns, labelled);
  make(known::kPods, ns, bad_pod("other"));
  EXPECT_EQ(report("-n many", 1).at("summary").at("notChecked"), 510);
  EXPECT_EQ(denied(report("-n many -l team=x", 1)), Set{"Pod many/bad read-only-root-filesystem"});
  const Set everywhere = denied(report("-A", 1));
  EXPECT_TRUE(everywhere.contains("Pod many/other read-only-root-filesystem"));
  EXPECT_EQ(report("", 0).at("pods").size(), 0U);  // the context's namespace, default
}

TEST_F(Live, WhatNeverRunsAgainIsLeftOut) {
  const auto ns = make_namespace("ended");
  close_network(ns);
  make(known::kPods, ns, bad_pod("bad"));
  const auto patched = admin_->patch(known::kPods, ns, "bad", kube::PatchType::kMerge,
                                     {{"status", {{"phase", "Failed"}}}}, "status");
  ASSERT_TRUE(patched) << patched.error().text();
  json old = workload("old", bad_pod("x"));
  old["spec"]["replicas"] = 0;
  old["metadata"]["ownerReferences"] = json::array({{{"apiVersion", "apps/v1"},
                                                     {"kind", "Deployment"},
                                                     {"name", "d"},
                                                     {"uid", "0"},
                                                     {"controller", true}}});
  make(kReplicaSets, ns, old);
  EXPECT_EQ(report("-n ended", 0).at("summary").at("notChecked"), 2);
}

TEST_F(Live, SettingsComeFromTheClusterOrAFile) {
  const auto ns = make_namespace("settings");
  close_network(ns);
  json lax = pod("lax");
  lax["spec"].erase("hostUsers");
  make(known::kPods, ns, lax);
  EXPECT_EQ(report("-n settings", 1).at("summary").at("failing"), 1);
  make(known::kConfigMaps, ns,
       {{"metadata", {{"name", "mine"}}},
        {"data", {{"policy.json", R"({"requireUserNamespace": false})"}}}});
  EXPECT_EQ(report("-n settings --settings configmap/settings/mine", 0).at("summary").at("failing"),
            0);
  write("policy.yaml", "requireUserNamespace: false\n");
  EXPECT_EQ(report("-n settings --settings policy.yaml", 0).at("summary").at("failing"), 0);
  for (const char* bad : {"configmap/settings", "configmap/settings/none", "none.yaml"}) {
    const auto result = run("check --live -n settings --settings " + std::string(bad));
    EXPECT_EQ(result.status, 2) << bad;
    EXPECT_NE(result.err, "") << bad;
  }
}

TEST_F(Live, WhatCannotBeReadIsSaidWithTheNextStep) {
  auto result = run("check --live -n nowhere");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "get namespaces nowhere: 404")) << result.err;
  result = run("check --live -A --kubeconfig '" + nobody() + "'");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "this user lacks the right (kubectl auth can-i list ")) << result.err;
  result = run("check --live --kubeconfig none.json");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "no cluster to read from: ")) << result.err;
  EXPECT_TRUE(has(result.err, "--kubeconfig FILE")) << result.err;
  result = run("check --live -l 'a b c'");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "check the selector")) << result.err;
  EXPECT_EQ(run("check --live pod.yaml").status, 2);
  EXPECT_EQ(run("check -n x pod.yaml").status, 2);
  EXPECT_EQ(run("check --live -A -n x").status, 2);
}

}  // namespace
}  // namespace palisade::cli
