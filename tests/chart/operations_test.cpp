// What an administrator of a particular cluster asks of the chart: where pods run, whom they talk
// to, where images come from, who may have sessions, and what `helm test` does.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chart/chart.h"

namespace palisade::chart::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::vector<json> pods_of(const std::vector<json>& all) {
  std::vector<json> out;
  for (const json& deployment : of_kind(all, "Deployment"))
    out.push_back(deployment.at("spec").at("template").at("spec"));
  return out;
}

TEST(ChartOperations, ImagesComeFromTheClustersOwnRegistry) {
  const struct {
    const char* image;
    const char* there;
  } cases[] = {
      {"registry.example.com/palisade/aider:1", "r.internal:5000/m/palisade/aider:1"},
      {"localhost/palisade/aider:1", "r.internal:5000/m/palisade/aider:1"},
      {"localhost:5000/aider:1", "r.internal:5000/m/aider:1"},
      {"palisade/aider:1", "r.internal:5000/m/palisade/aider:1"},
      {"aider:1", "r.internal:5000/m/aider:1"},
      {"aider@sha256:00", "r.internal:5000/m/aider@sha256:00"},
  };
  for (const auto& c : cases) {
    const auto all =
        objects({R"(imageRegistry="r.internal:5000/m")", "agentImage=" + json(c.image).dump()});
    const json args =
        named(all, "Deployment",
              "palisade-operator")["spec"]["template"]["spec"]["containers"][0]["args"];
    EXPECT_THAT(args, ::testing::Contains(std::string("--agent-image=") + c.there));
    EXPECT_THAT(args, ::testing::Contains(
                          StartsWith("--courier-image=r.internal:5000/m/palisade/control-plane:")));
    for (const json& pod : pods_of(all)) {
      EXPECT_THAT(pod["containers"][0]["image"].get<std::string>(),
                  StartsWith("r.internal:5000/m/palisade/control-plane:"));
    }
  }
}

TEST(ChartOperations, PodsRunWhereTheValuesSay) {
  const auto all = objects({R"(scheduling={"priorityClassName": "system-cluster-critical",
      "nodeSelector": {"disk": "fast"}, "tolerations": [{"operator": "Exists"}],
      "topologySpread": {"topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}})",
                            R"(imagePullSecrets=["mirror"])"});
  for (const json& pod : pods_of(all)) {
    EXPECT_EQ(pod["priorityClassName"], "system-cluster-critical");
    EXPECT_EQ(pod["nodeSelector"], json({{"disk", "fast"}}));
    EXPECT_EQ(pod["tolerations"], json::parse(R"([{"operator": "Exists"}])"));
    EXPECT_EQ(pod["imagePullSecrets"], json::parse(R"([{"name": "mirror"}])"));
  }
  for (const char* name : {"palisade-webhook", "palisade-gateway"}) {
    const json pod = named(all, "Deployment", name)["spec"]["template"]["spec"];
    ASSERT_EQ(pod["topologySpreadConstraints"].size(), 1U) << name;
    EXPECT_EQ(pod["topologySpreadConstraints"][0]["topologyKey"], "rack");
    EXPECT_EQ(pod["topologySpreadConstraints"][0]["whenUnsatisfiable"], "DoNotSchedule");
  }
}

TEST(ChartOperations, PalisadesOwnPodsTalkToFew) {
  const auto all = objects();
  for (const char* name : {"palisade-webhook", "palisade-operator"}) {
    const json policy = named(all, "NetworkPolicy", name);
    EXPECT_EQ(policy["metadata"]["namespace"], "palisade-system");
    EXPECT_EQ(policy["spec"]["policyTypes"], json({"Ingress", "Egress"}));
    const json labels = named(all, "Deployment", name)["spec"]["template"]["metadata"]["labels"];
    const json& selected = policy["spec"]["podSelector"]["matchLabels"];
    ASSERT_EQ(selected.size(), 2U);
    for (const auto& [key, value] : selected.items())
      EXPECT_EQ(labels.value(key, ""), value) << key;
    for (const json& rule : policy["spec"]["egress"]) {
      EXPECT_FALSE(rule["to"].empty()) << "a rule without peers opens everything";
      EXPECT_FALSE(rule["ports"].empty());
    }
  }
  // Nobody asks the operator anything; the API server asks the webhook, and is no pod.
  EXPECT_FALSE(named(all, "NetworkPolicy", "palisade-operator")["spec"].contains("ingress"));
  const json ingress = named(all, "NetworkPolicy", "palisade-webhook")["spec"]["ingress"];
  EXPECT_EQ(ingress, json::parse(R"([{"ports": [{"protocol": "TCP", "port": 8443}]}])"));

  const auto narrow =
      objects({R"(networkPolicy={"webhookFrom": [{"ipBlock": {"cidr": "192.0.2.0/28"}}],
      "metricsFrom": [{"podSelector": {}}], "gitHosts": []})"});
  const json asked = named(narrow, "NetworkPolicy", "palisade-webhook")["spec"]["ingress"];
  EXPECT_EQ(asked[0]["from"], json::parse(R"([{"ipBlock": {"cidr": "192.0.2.0/28"}}])"));
  EXPECT_EQ(asked[1]["ports"][0]["port"], 8080);
  EXPECT_EQ(named(narrow, "NetworkPolicy", "palisade-operator")["spec"]["egress"].size(), 2U);
  for (const json& policy :
       of_kind(objects({R"(networkPolicy={"enabled": false})"}), "NetworkPolicy"))
    EXPECT_EQ(policy["metadata"]["namespace"], "palisade-gateway");
}

TEST(ChartOperations, WhoEditsANamespaceHasSessionsInIt) {
  const json role = named(objects(), "ClusterRole", "palisade-edit");
  const json& labels = role["metadata"]["labels"];
  for (const char* to : {"edit", "admin"})
    EXPECT_EQ(labels.value(std::string("rbac.authorization.k8s.io/aggregate-to-") + to, ""),
              "true");
  EXPECT_FALSE(labels.contains("rbac.authorization.k8s.io/aggregate-to-view"));
  ASSERT_EQ(role["rules"].size(), 1U);
  // Neither the status, which is the operator's, nor the policies that bound them.
  EXPECT_EQ(role["rules"][0]["resources"], json({"agentworkspaces"}));
}

// What the tests make goes with them.
TEST(ChartOperations, HelmTestTriesTheGuardAndLeavesNoRights) {
  const Outcome rendered = helm({"template", "palisade", chart().string(), "--namespace", "system",
                                 "--set", "test.namespace=team-a"});
  ASSERT_EQ(rendered.code, 0) << rendered.err;
  std::vector<json> hooks;
  for (const json& object : objects_of(rendered.out)) {
    if (object["metadata"].value("annotations", json::object()).contains("helm.sh/hook"))
      hooks.push_back(object);
  }
  ASSERT_EQ(hooks.size(), 4U);
  for (const json& hook : hooks) {
    EXPECT_EQ(hook["metadata"]["annotations"]["helm.sh/hook"], "test");
    const std::string deleted = hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"];
    EXPECT_THAT(deleted, HasSubstr("before-hook-creation,hook-succeeded"));
    if (hook["kind"] != "Pod") {
      EXPECT_THAT(deleted, HasSubstr("hook-failed"));
    }
  }
  const json pod = named(hooks, "Pod", "palisade-test");
  EXPECT_EQ(pod["spec"]["containers"][0]["command"],
            json({"/usr/local/bin/palisade", "doctor", "--try", "team-a"}));
  EXPECT_EQ(named(hooks, "Role", "palisade-test")["metadata"]["namespace"], "team-a");
  // Without the tests there is no hook at all: what is installed is what is there.
  for (const json& object : objects())
    EXPECT_FALSE(object["metadata"].value("annotations", json::object()).contains("helm.sh/hook"));
}

// `helm uninstall` takes what is not kept, and no webhook may be.
TEST(ChartOperations, NothingIsKeptButTheDefinitionsAndTheArchive) {
  for (const Strings& values : variations()) {
    for (const json& object : objects(values)) {
      const json annotations = object["metadata"].value("annotations", json::object());
      EXPECT_EQ(annotations.contains("helm.sh/resource-policy"),
                object["kind"] == "PersistentVolumeClaim")
          << name_of(object);
      EXPECT_NE(object["kind"], "CustomResourceDefinition");
    }
  }
}

// gateway.json's.
json archive_of(const std::vector<json>& all) {
  const std::string text =
      named(all, "ConfigMap", "palisade-gateway-config")["data"]["gateway.json"];
  return json::parse(text).value("archive", json());
}

// What outlives sessions is on a volume of the gateway alone, and the operator says where.
TEST(ChartOperations, TheArchiveIsTheGatewaysVolume) {
  const auto gateway = [](const std::vector<json>& all) {
    return named(all, "Deployment", "palisade-gateway")["spec"];
  };
  const auto mentions = [](const json& object) {
    return object.dump().find("archive") != std::string::npos;
  };
  EXPECT_TRUE(std::ranges::none_of(objects(), mentions));

  const auto all = objects({R"(gateway={"namespace": "keys", "archive": {"enabled": true,
      "retentionDays": 30, "pvc": {"size": "50Gi", "storageClass": "nfs"}}})"});
  EXPECT_EQ(archive_of(all),
            json({{"directory", "/archive"}, {"sessionBytes", 134217728}, {"retentionDays", 30}}));
  const json claim = named(all, "PersistentVolumeClaim", "palisade-archive");
  EXPECT_EQ(claim["metadata"]["namespace"], "keys");
  EXPECT_EQ(claim["spec"], json({{"accessModes", {"ReadWriteMany"}},
                                 {"storageClassName", "nfs"},
                                 {"resources", {{"requests", {{"storage", "50Gi"}}}}}}));
  const json pod = gateway(all)["template"]["spec"];
  EXPECT_THAT(
      pod["volumes"],
      ::testing::Contains(json(
          {{"name", "archive"}, {"persistentVolumeClaim", {{"claimName", "palisade-archive"}}}})));
  EXPECT_THAT(pod["containers"][0]["volumeMounts"],
              ::testing::Contains(json({{"name", "archive"}, {"mountPath", "/archive"}})));
  EXPECT_THAT(named(all, "Deployment",
                    "palisade-operator")["spec"]["template"]["spec"]["containers"][0]["args"],
              ::testing::Contains("--gateway-archive=pvc://keys/palisade-archive"));
  EXPECT_FALSE(gateway(all)["strategy"].contains("type"));

  // Somebody's own claim, for one replica.
  const char* const once = R"("archive": {"enabled": true, "pvc": {"existingClaim": "kept",
      "accessMode": "ReadWriteOnce"}})";
  const auto own = objects({std::string(R"(gateway={"replicas": 1, )") + once + "}"});
  EXPECT_TRUE(of_kind(own, "PersistentVolumeClaim").empty());
  EXPECT_EQ(gateway(own)["strategy"], json({{"type", "Recreate"}}));
  const Outcome two = render({std::string("gateway={") + once + "}"});
  EXPECT_NE(two.code, 0);
  EXPECT_THAT(two.err, ::testing::HasSubstr("gateway.archive.pvc.accessMode: ReadWriteOnce is for "
                                            "one replica"));
}

// Or in a bucket, with a Secret of the gateway's alone and a way to it.
TEST(ChartOperations, TheArchiveIsTheGatewaysBucket) {
  const auto with = [](const std::string& s3, const std::string& more = R"("retentionDays": 0)",
                       const std::string& policy = R"("upstreams": [])") {
    return R"(gateway={"archive": {"enabled": true, )" + more + R"(, "s3": {)" + s3 +
           R"(}}, "networkPolicy": {)" + policy + "}}";
  };
  const std::string least =
      R"("endpoint": "https://s3.example.com", "bucket": "records", "credentialsSecret": "keys")";
  const auto all = objects({with(least)});
  json expected{{"endpoint", "https://s3.example.com"},
                {"region", "us-east-1"},
                {"bucket", "records"},
                {"prefix", ""},
                {"credentials", "/etc/palisade-s3"},
                {"authorities", ""}};
  EXPECT_EQ(archive_of(all), json({{"sessionBytes", 134217728}, {"s3", expected}}));
  EXPECT_TRUE(of_kind(all, "PersistentVolumeClaim").empty());
  const auto args_of = [](const std::vector<json>& rendered) {
    const json operators = named(rendered, "Deployment", "palisade-operator");
    return operators["spec"]["template"]["spec"]["containers"][0]["args"];
  };
  EXPECT_THAT(args_of(all), ::testing::Contains("--gateway-archive=s3://records"));
  const json pod = named(all, "Deployment", "palisade-gateway")["spec"]["template"]["spec"];
  EXPECT_THAT(pod["containers"][0]["volumeMounts"],
              ::testing::Contains(json({{"name", "archive-credentials"},
                                        {"mountPath", "/etc/palisade-s3"},
                                        {"readOnly", true}})));
  const auto secret = std::ranges::find_if(
      pod["volumes"], [](const json& one) { return one["name"] == "archive-credentials"; });
  ASSERT_NE(secret, pod["volumes"].end());
  EXPECT_EQ((*secret)["secret"]["secretName"], "keys");
  const auto way_of = [](const std::vector<json>& rendered) {
    const json policy = named(rendered, "NetworkPolicy", "palisade-gateway");
    json out = json::array();
    for (const json& rule : policy["spec"]["egress"])
      out.push_back(rule);
    return out;
  };
  const json anywhere = {{"ipBlock", {{"cidr", "0.0.0.0/0"}, {"except", {"169.254.0.0/16"}}}}};
  EXPECT_THAT(way_of(all),
              ::testing::Contains(
                  json({{"to", {anywhere}}, {"ports", {{{"protocol", "TCP"}, {"port", 443}}}}})));

  // Elsewhere, below a prefix.
  const auto near =
      objects({with(R"("endpoint": "https://10.0.0.7:9000", "region": "local", "bucket": "records",
               "prefix": "clusters/one", "credentialsSecret": "keys", "ca": "PEM")",
                    R"("retentionDays": 0)", R"("s3": [{"ipBlock": {"cidr": "10.0.0.7/32"}}])")});
  expected.update({{"endpoint", "https://10.0.0.7:9000"},
                   {"region", "local"},
                   {"prefix", "clusters/one"},
                   {"authorities", "PEM"}});
  EXPECT_EQ(archive_of(near)["s3"], expected);
  EXPECT_THAT(args_of(near), ::testing::Contains("--gateway-archive=s3://records/clusters/one"));
  EXPECT_THAT(way_of(near),
              ::testing::Contains(json({{"to", {{{"ipBlock", {{"cidr", "10.0.0.7/32"}}}}}},
                                        {"ports", {{{"protocol", "TCP"}, {"port", 9000}}}}})));

  for (const auto& [values, error] : std::vector<std::pair<std::string, std::string>>{
           {with(R"("endpoint": "https://x.example", "credentialsSecret": "keys")"),
            "gateway.archive.s3.bucket: is missing"},
           {with(R"("endpoint": "https://x.example", "bucket": "records")"),
            "gateway.archive.s3.credentialsSecret: name"},
           {with(least, R"("pvc": {"existingClaim": "kept"}, "retentionDays": 0)"),
            "gateway.archive.pvc.existingClaim"},
           {with(least, R"("sessionBytes": 1048576)"),
            "gateway.archive.retentionDays: is for a volume; with s3 set it to 0"}}) {
    const Outcome refused = render({values});
    EXPECT_NE(refused.code, 0) << values;
    EXPECT_THAT(refused.err, ::testing::HasSubstr(error));
  }
}

// Whether the schema knows each value, and would refuse one more beside it.
void expect_known(const json& values, const json& schema, const std::string& path) {
  if (!values.is_object() || !schema.contains("properties")) return;
  EXPECT_EQ(schema.value("additionalProperties", true), false) << path;
  for (const auto& [key, value] : values.items()) {
    const std::string here = path + "/" + key;
    ASSERT_TRUE(schema["properties"].contains(key)) << here << " is not in values.schema.json";
    expect_known(value, schema["properties"][key], here);
  }
}

TEST(ChartOperations, TheSchemaKnowsEveryValue) {
  const auto values = objects_of(helm({"show", "values", chart().string()}).out);
  ASSERT_EQ(values.size(), 1U);
  std::ifstream in(chart() / "values.schema.json");
  expect_known(values[0], json::parse(in), "");
}

}  // namespace
}  // namespace palisade::chart::testing
