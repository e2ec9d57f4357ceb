// How the chart serves the webhook: replicas that do not go together, whose certificate, and which
// clients are answered.
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chart/chart.h"

namespace palisade::chart::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

const char* const kCertManager = R"(webhook.certManager={"enabled": true})";

json pod_of(const std::vector<json>& all) {
  return named(all, "Deployment", "palisade-webhook")["spec"]["template"]["spec"];
}

Strings arguments_of(const std::vector<json>& all) {
  return pod_of(all)["containers"][0]["args"].get<Strings>();
}

// The volume's name that is mounted there; "" for none.
std::string mounted_at(const std::vector<json>& all, const std::string& path) {
  const json pod = pod_of(all);
  for (const json& mount : pod["containers"][0]["volumeMounts"]) {
    if (mount["mountPath"] != path) continue;
    EXPECT_EQ(mount.value("readOnly", false), true) << path;
    return mount["name"];
  }
  return {};
}

json volume_of(const std::vector<json>& all, const std::string& name) {
  const json pod = pod_of(all);
  for (const json& volume : pod["volumes"]) {
    if (volume["name"] == name) return volume;
  }
  return {};
}

std::set<std::string> resources_it_may_write(const std::vector<json>& all) {
  std::set<std::string> out;
  for (const char* kind : {"ClusterRole", "Role"}) {
    const json role = named(all, kind, "palisade-webhook");
    for (const json& rule : role["rules"]) {
      for (const json& verb : rule["verbs"]) {
        if (verb == "get" || verb == "list" || verb == "watch") continue;
        for (const json& resource : rule["resources"])
          out.insert(resource);
      }
    }
  }
  return out;
}

TEST(ChartServing, ReplicasAreKeptApartAndDoNotGoTogether) {
  const auto all = objects();
  const json labels =
      named(all, "Deployment", "palisade-webhook")["spec"]["selector"]["matchLabels"];
  const json budget = named(all, "PodDisruptionBudget", "palisade-webhook")["spec"];
  EXPECT_EQ(budget["maxUnavailable"], 1);
  EXPECT_EQ(budget["selector"]["matchLabels"], labels);
  const json pod = pod_of(all);
  const json apart = pod["affinity"]["podAntiAffinity"]
                        ["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
  EXPECT_EQ(apart["topologyKey"], "kubernetes.io/hostname");
  EXPECT_EQ(apart["labelSelector"]["matchLabels"], labels);
  const json spread = pod["topologySpreadConstraints"][0];
  EXPECT_EQ(spread["topologyKey"], "topology.kubernetes.io/zone");
  EXPECT_EQ(spread["whenUnsatisfiable"], "ScheduleAnyway") << "a small cluster has one zone";
  EXPECT_EQ(spread["labelSelector"]["matchLabels"], labels);
}

// With one replica a budget would only hold a node's drain up.
TEST(ChartServing, OneReplicaHasNoBudget) {
  EXPECT_TRUE(of_kind(objects({"webhook.replicas=1", "gateway.replicas=1"}), "PodDisruptionBudget")
                  .empty());
}

TEST(ChartServing, OperatorsStandByForEachOther) {
  const auto one = objects();
  EXPECT_EQ(named(one, "Deployment", "palisade-operator")["spec"]["strategy"]["type"], "Recreate");
  EXPECT_FALSE(named(one, "Deployment", "palisade-operator")["spec"]["template"]["spec"].contains(
      "affinity"));
  const auto two = objects({R"(operator={"replicas": 2, "leaseDurationSeconds": 30})"});
  const json spec = named(two, "Deployment", "palisade-operator")["spec"];
  EXPECT_EQ(spec["replicas"], 2);
  EXPECT_EQ(spec["strategy"]["type"], "RollingUpdate");
  const json labels = spec["selector"]["matchLabels"];
  const json budget = named(two, "PodDisruptionBudget", "palisade-operator")["spec"];
  EXPECT_EQ(budget["maxUnavailable"], 1);
  EXPECT_EQ(budget["selector"]["matchLabels"], labels);
  const json pod = spec["template"]["spec"];
  EXPECT_EQ(pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
               ["podAffinityTerm"]["labelSelector"]["matchLabels"],
            labels);
  EXPECT_THAT(pod["containers"][0]["args"].get<Strings>(), Contains("--lease-duration=30"));
  // In its own namespace, and no other Lease of it but to make one.
  const json role = named(two, "Role", "palisade-operator");
  EXPECT_EQ(role["metadata"]["namespace"],
            named(two, "Deployment", "palisade-operator")["metadata"]["namespace"]);
  EXPECT_EQ(role["rules"][0]["resourceNames"], json::array({"palisade-operator"}));
  EXPECT_EQ(role["rules"][0]["verbs"], json({"get", "update"}));
  EXPECT_EQ(role["rules"][1]["verbs"], json::array({"create"}));
}

TEST(ChartServing, KeepsItsOwnCertificateByDefault) {
  const auto all = objects();
  EXPECT_THAT(arguments_of(all), Contains("--secret=palisade-webhook-tls"));
  EXPECT_THAT(arguments_of(all), Contains("--mutating-webhook-configuration=palisade-webhook"));
  EXPECT_THAT(arguments_of(all), Not(Contains(HasSubstr("--certificate-dir"))));
  EXPECT_THAT(arguments_of(all), Not(Contains(HasSubstr("--client-"))));
  EXPECT_EQ(mounted_at(all, "/etc/palisade-webhook-tls"), "");
  EXPECT_TRUE(of_kind(all, "Certificate").empty());
  EXPECT_TRUE(of_kind(all, "Issuer").empty());
  EXPECT_THAT(resources_it_may_write(all), Contains("secrets"));
  EXPECT_THAT(resources_it_may_write(all), Contains("mutatingwebhookconfigurations"));
  const json configuration = named(all, "ValidatingWebhookConfiguration", "palisade-webhook");
  EXPECT_FALSE(configuration["metadata"].contains("annotations"));
}

TEST(ChartServing, CertManagerMakesItInstead) {
  for (const char* ns : {"palisade-system", "elsewhere"}) {
    const auto all = objects({kCertManager}, ns);
    EXPECT_THAT(arguments_of(all), Contains("--certificate-dir=/etc/palisade-webhook-tls"));
    EXPECT_THAT(arguments_of(all), Not(Contains(HasSubstr("--secret"))));
    const json volume = volume_of(all, mounted_at(all, "/etc/palisade-webhook-tls"));
    const json certificate = named(all, "Certificate", "palisade-webhook");
    EXPECT_EQ(volume["secret"]["secretName"], certificate["spec"]["secretName"]);
    EXPECT_EQ(certificate["spec"]["dnsNames"],
              json({"palisade-webhook." + std::string(ns) + ".svc",
                    "palisade-webhook." + std::string(ns) + ".svc.cluster.local"}));
    EXPECT_EQ(certificate["metadata"]["namespace"], ns);
    // The issuer's authority outlives the certificate.
    const json issuer =
        named(all, "Issuer", certificate["spec"]["issuerRef"]["name"].get<std::string>());
    const json authority = named(all, "Certificate", "palisade-webhook-ca");
    EXPECT_EQ(issuer["spec"]["ca"]["secretName"], authority["spec"]["secretName"]);
    EXPECT_EQ(authority["spec"]["isCA"], true);
    for (const char* kind : {"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}) {
      for (const json& configuration : of_kind(all, kind)) {
        EXPECT_EQ(configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
                  std::string(ns) + "/palisade-webhook");
      }
    }
    // What it no longer does it no longer may.
    EXPECT_THAT(resources_it_may_write(all), Not(Contains("secrets")));
    EXPECT_THAT(resources_it_may_write(all), Not(Contains(HasSubstr("webhookconfigurations"))));
  }
}

TEST(ChartServing, CertManagerMayHaveAnIssuerOfItsOwn) {
  const auto all = objects({R"(webhook.certManager={"enabled": true, "duration": "240h",
      "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "corporate"}})"});
  EXPECT_TRUE(of_kind(all, "Issuer").empty());
  const auto certificates = of_kind(all, "Certificate");
  ASSERT_EQ(certificates.size(), 1U);
  EXPECT_EQ(certificates[0]["spec"]["issuerRef"]["name"], "corporate");
  EXPECT_EQ(certificates[0]["spec"]["duration"], "240h");
}

TEST(ChartServing, TheApiServersCertificateIsAskedForWhereAnAuthorityIsNamed) {
  const struct {
    const char* values;
    const char* kind;
    const char* name_key;
  } cases[] = {{R"(webhook.clientCA={"configMap": "ca", "names": ["kube-apiserver", "b c"]})",
                "configMap", "name"},
               {R"(webhook.clientCA={"secret": "ca", "names": ["kube-apiserver", "b c"]})",
                "secret", "secretName"}};
  for (const auto& c : cases) {
    const auto all = objects({c.values});
    EXPECT_THAT(arguments_of(all), Contains("--client-ca-file=/etc/palisade-client-ca/ca.crt"));
    EXPECT_THAT(arguments_of(all), Contains("--client-name=kube-apiserver"));
    EXPECT_THAT(arguments_of(all), Contains("--client-name=b c"));
    const json volume = volume_of(all, mounted_at(all, "/etc/palisade-client-ca"));
    EXPECT_EQ(volume[c.kind][c.name_key], "ca");
    EXPECT_EQ(volume[c.kind]["items"], json({{{"key", "ca.crt"}, {"path", "ca.crt"}}}));
  }
}

TEST(ChartServing, RegistriesAreAskedForSignaturesAsTheValuesSay) {
  const auto none = objects();
  EXPECT_THAT(arguments_of(none), Not(Contains(HasSubstr("--registry-"))));
  EXPECT_EQ(mounted_at(none, "/etc/palisade-registries"), "");
  const auto rules_of = [](const std::vector<json>& all) {
    return named(all, "NetworkPolicy", "palisade-webhook")["spec"]["egress"];
  };
  EXPECT_EQ(rules_of(none).size(), 1U) << "the API server alone";

  const auto all = objects(
      {R"(webhook.registries={"credentialsSecret": "pull", "ca": "PEM", "otherHosts": ["a.example.com:5000"]})",
       R"(networkPolicy.registries=[{"to": [{"ipBlock": {"cidr": "192.0.2.0/28"}}], "ports": [{"port": 443}]}])"});
  EXPECT_THAT(arguments_of(all), Contains("--registry-ca-file=/etc/palisade/registries-ca.pem"));
  EXPECT_EQ(named(all, "ConfigMap", "palisade-config")["data"]["registries-ca.pem"], "PEM");
  EXPECT_THAT(arguments_of(all),
              Contains("--registry-credentials-file=/etc/palisade-registries/config.json"));
  EXPECT_THAT(arguments_of(all), Contains("--registry-host=a.example.com:5000"));
  const json volume = volume_of(all, mounted_at(all, "/etc/palisade-registries"));
  EXPECT_EQ(volume["secret"]["secretName"], "pull");
  EXPECT_EQ(volume["secret"]["items"],
            json({{{"key", ".dockerconfigjson"}, {"path", "config.json"}}}));
  const json egress = rules_of(all);
  ASSERT_EQ(egress.size(), 3U) << "the API server, names, the registries";
  EXPECT_EQ(egress[2]["to"][0]["ipBlock"]["cidr"], "192.0.2.0/28");
}

TEST(ChartServing, WhatWouldNotAskIsRefused) {
  const struct {
    const char* values;
    const char* says;
  } cases[] = {
      {R"(webhook.clientCA={"names": ["kube-apiserver"]})", "would let everyone in"},
      {R"(webhook.clientCA={"configMap": "a", "secret": "b"})", "not both"},
      {R"(webhook.clientCA={"configMap": "a", "names": [""]})", "/webhook/clientCA/names/0"},
      {R"(webhook.clientCA={"configMap": "a", "file": "x"})", "file"},
      {R"(webhook.certManager={"enabled": "yes"})", "/webhook/certManager/enabled"},
      {R"(webhook.certManager={"enabled": true, "duration": "90d"})",
       "/webhook/certManager/duration"},
      {R"(webhook.certManager={"enabled": true, "issuer": "x"})", "issuer"},
      {R"(webhook.registries={"otherHosts": ["https://a.example.com"]})",
       "/webhook/registries/otherHosts/0"},
  };
  for (const auto& c : cases) {
    const Outcome rendered = render({c.values});
    EXPECT_NE(rendered.code, 0) << c.values;
    EXPECT_THAT(rendered.err, HasSubstr(c.says)) << c.values;
  }
}

}  // namespace
}  // namespace palisade::chart::testing
