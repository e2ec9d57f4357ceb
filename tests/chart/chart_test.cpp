// The Helm chart as an administrator meets it: rendered by the real Helm, judged by the real
// `palisade check`, and asked for no more rights than it gives reasons for.
#include "chart/chart.h"

#include <algorithm>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <policy/policy.h>
#include <policy/templates.h>
#include <policy/vap.h>

namespace palisade::chart::testing {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

TEST(Chart, HelmFindsNothingToSay) {
  const Outcome linted = helm({"lint", "--strict", chart().string()});
  EXPECT_EQ(linted.code, 0) << linted.out << linted.err;
  EXPECT_THAT(linted.out, HasSubstr("1 chart(s) linted, 0 chart(s) failed"));
  EXPECT_THAT(linted.out, Not(HasSubstr("[WARNING]")));
}

// --- Palisade's own pods under Palisade's own policy ---

Outcome check(const std::string& yaml, Strings flags) {
  const Directory directory;
  courier::testing::write_file(directory.path() / "chart.yaml", yaml);
  flags.insert(flags.begin(), {PALISADE_PROGRAM, "check", "--all"});
  flags.insert(flags.end(), {"-f", "-"});
  return run(std::move(flags), directory.path() / "chart.yaml");
}

// They live as long as the cluster, and they talk to its API server: what an agent must not do.
const Strings kNotForServers{"--skip", "bounded-lifetime", "--skip", "no-service-account-token"};

TEST(Chart, ItsPodsPassThePolicyThatTheyEnforce) {
  for (const Strings& values : variations()) {
    const Outcome rendered = render(values);
    ASSERT_EQ(rendered.code, 0) << rendered.err;
    const Outcome checked = check(rendered.out, kNotForServers);
    EXPECT_EQ(checked.code, 0) << ::testing::PrintToString(values) << checked.out << checked.err;
    EXPECT_THAT(checked.out, HasSubstr("3 pods checked: 3 compliant"));
  }
}

TEST(Chart, NothingElseIsSkippedForThem) {
  const Outcome rendered = render();
  const Outcome strict = check(rendered.out, {});
  EXPECT_EQ(strict.code, 1) << strict.out;
  EXPECT_THAT(strict.out, HasSubstr("[bounded-lifetime]"));
  EXPECT_THAT(strict.out, HasSubstr("[no-service-account-token]"));
  EXPECT_THAT(strict.out, HasSubstr("3 with findings (9)"));
  // The check sees what the chart would weaken.
  const Outcome shared = check(render({"userNamespace=false"}).out, kNotForServers);
  EXPECT_EQ(shared.code, 1);
  EXPECT_THAT(shared.out, HasSubstr("[user-namespace]"));
}

TEST(Chart, TheTokenIsMountedByHandAndShortLived) {
  for (const json& deployment : of_kind(objects(), "Deployment")) {
    const json& pod = deployment["spec"]["template"]["spec"];
    EXPECT_EQ(pod["automountServiceAccountToken"], false);
    int tokens = 0;
    for (const json& volume : pod["volumes"]) {
      const json projected = volume.value("projected", json::object());
      for (const json& source : projected.value("sources", json::array())) {
        if (!source.contains("serviceAccountToken")) continue;
        ++tokens;
        EXPECT_EQ(source["serviceAccountToken"].value("expirationSeconds", 0), 3600);
      }
    }
    EXPECT_EQ(tokens, 1) << name_of(deployment);
  }
}

// --- Values ---

TEST(Chart, BadValuesAreRefusedByName) {
  const struct {
    const char* values;
    const char* where;
  } cases[] = {
      {R"(imagee={"tag": "x"})", "imagee"},
      {R"(image={"repository": ""})", "/image/repository"},
      {R"(image={"repository": 7})", "/image/repository"},
      {R"(image={"tag": 1.20})", "/image/tag"},
      {R"(image={"pullPolicy": "Sometimes"})", "/image/pullPolicy"},
      {R"(image={"digest": "sha256:0"})", "digest"},
      {R"(imagePullSecrets="one")", "/imagePullSecrets"},
      {R"(imagePullSecrets=[{"name": "one"}])", "/imagePullSecrets/0"},
      {R"(watchNamespaces="team-a")", "/watchNamespaces"},
      {R"(watchNamespaces=[""])", "/watchNamespaces/0"},
      {R"(watchNamespaces=["team-a", "*"])", "/watchNamespaces/1"},
      {R"(watchNamespaces=["team-a", "team-a"])", "/watchNamespaces"},
      {R"(agentImage="")", "/agentImage"},
      {R"(agentImage=["x"])", "/agentImage"},
      {R"(llmGateways=[])", "/llmGateways"},
      {R"(llmGateways=[{"name": "a"}])", "/llmGateways/0"},
      {R"(llmGateways=[{"url": "https://x"}])", "/llmGateways/0"},
      {R"(llmGateways=[{"name": "A_b", "url": "https://x"}])", "/llmGateways/0/name"},
      {R"(llmGateways=[{"name": "a=b", "url": "https://x"}])", "/llmGateways/0/name"},
      {R"(llmGateways=[{"name": "a", "url": "ftp://x"}])", "/llmGateways/0/url"},
      {R"(llmGateways=[{"name": "a", "url": "x.example.com"}])", "/llmGateways/0/url"},
      {R"(llmGateways=[{"name": "a", "url": "palisades"}])", "/llmGateways/0/url"},
      {R"(gateway={"enabled": "yes"})", "/gateway/enabled"},
      {R"(gateway={"replicas": 0})", "/gateway/replicas"},
      {R"(gateway={"namespace": "A_b"})", "/gateway/namespace"},
      {R"(gateway={"audience": ""})", "/gateway/audience"},
      {R"(gateway={"config": {"llms": {}}})", "llms"},
      {R"(gateway={"config": {"llm": {"models": null}}})", "models"},
      {R"(gateway={"spoolSize": "much"})", "/gateway/spoolSize"},
      {R"(gateway={"networkPolicy": {"dns": []}})", "/gateway/networkPolicy/dns"},
      {R"(gateway={"networkPolicy": {"upstreams": [{}]}})", "/gateway/networkPolicy/upstreams/0"},
      {R"(gateway={"archive": {"pvc": {"accessMode": "ReadOnlyMany"}}})",
       "/gateway/archive/pvc/accessMode"},
      {R"(gateway={"archive": {"sessionBytes": 1}})", "/gateway/archive/sessionBytes"},
      {R"(gateway={"archive": {"retentionDays": -1}})", "/gateway/archive/retentionDays"},
      {R"(gateway={"archive": {"s3": {"endpoint": "http://s3.example.com"}}})",
       "/gateway/archive/s3/endpoint"},
      {R"(gateway={"archive": {"s3": {"endpoint": "https://s3.example.com/records"}}})",
       "/gateway/archive/s3/endpoint"},
      {R"(gateway={"archive": {"s3": {"region": ""}}})", "/gateway/archive/s3/region"},
      {R"(gateway={"archive": {"s3": {"bucket": "Records"}}})", "/gateway/archive/s3/bucket"},
      {R"(gateway={"archive": {"s3": {"bucket": "a..b"}}})", "/gateway/archive/s3/bucket"},
      {R"(gateway={"archive": {"s3": {"prefix": "/one"}}})", "/gateway/archive/s3/prefix"},
      {R"(gateway={"archive": {"s3": {"prefix": "one/../two"}}})", "/gateway/archive/s3/prefix"},
      {R"(gateway={"archive": {"s3": {"secretAccessKey": "x"}}})", "secretAccessKey"},
      {R"(gateway={"networkPolicy": {"s3": []}})", "/gateway/networkPolicy/s3"},
      {R"(gateway={"config": {"llm": {"upstreams": [], "models": []}, "archive": {}}})", "archive"},
      {R"(gateway={"key": "sk"})", "key"},
      {R"(llmGateways=[{"name": "a", "url": "https://x", "key": "sk"}])", "key"},
      {"gitCA=7", "/gitCA"},
      {R"(policy={"maxLifetime": 1})", "maxLifetime"},
      {R"(policy={"maxLifetimeSeconds": 0})", "/policy/maxLifetimeSeconds"},
      {R"(policy={"maxLifetimeSeconds": "1h"})", "/policy/maxLifetimeSeconds"},
      {R"(policy={"maxCpuMillis": -1})", "/policy/maxCpuMillis"},
      {R"(policy={"maxMemoryBytes": 1.5})", "/policy/maxMemoryBytes"},
      {R"(policy={"requireUserNamespace": "no"})", "/policy/requireUserNamespace"},
      {R"(policy={"allowedVolumeTypes": "hostPath"})", "/policy/allowedVolumeTypes"},
      {R"(policy={"allowedTokenAudiences": [1]})", "/policy/allowedTokenAudiences/0"},
      {"policy=true", "/policy"},
      {R"(userNamespace="yes")", "/userNamespace"},
      {R"(logLevel="verbose")", "/logLevel"},
      {R"(operator={"replicas": -1})", "/operator/replicas"},
      {R"(operator={"leaseDurationSeconds": 2})", "/operator/leaseDurationSeconds"},
      {R"(operator={"leaseDurationSeconds": "15s"})", "/operator/leaseDurationSeconds"},
      {R"(operator={"workers": 0})", "/operator/workers"},
      {R"(operator={"serviceNamespaces": ["a,b"]})", "/operator/serviceNamespaces/0"},
      {R"(operator={"transport": "curl"})", "/operator/transport"},
      {R"(operator={"resources": "small"})", "/operator/resources"},
      {R"(operator={"securityContext": {}})", "securityContext"},
      {R"(webhook={"replicas": 0})", "/webhook/replicas"},
      {R"(webhook={"timeoutSeconds": 0})", "/webhook/timeoutSeconds"},
      {R"(webhook={"timeoutSeconds": 31})", "/webhook/timeoutSeconds"},
      {R"(webhook={"failurePolicy": "Ignore"})", "failurePolicy"},
      {R"(webhook={"exemptNamespaces": "team-a"})", "/webhook/exemptNamespaces"},
      {R"(webhook={"transport": ""})", "/webhook/transport"},
      {R"(webhook={"resources": {"limits": {"cpu": "much"}}})", "/webhook/resources/limits/cpu"},
      {R"(webhook={"resources": {"limit": {}}})", "limit"},
      {R"(imageRegistry="https://r.example.com/")", "/imageRegistry"},
      {R"(scheduling={"priority": 1})", "priority"},
      {R"(scheduling={"nodeSelector": {"a": 1}})", "/scheduling/nodeSelector/a"},
      {R"(scheduling={"tolerations": [{"effect": "Never"}]})", "/scheduling/tolerations/0/effect"},
      {R"(scheduling={"topologySpread": {"whenUnsatisfiable": "Maybe"}})",
       "/scheduling/topologySpread/whenUnsatisfiable"},
      {R"(networkPolicy={"apiServer": {"ports": []}})", "/networkPolicy/apiServer/ports"},
      {R"(networkPolicy={"gitHosts": [{}]})", "/networkPolicy/gitHosts/0"},
      {R"(networkPolicy={"webhookFrom": "all"})", "/networkPolicy/webhookFrom"},
      {R"(test={"namespace": ""})", "/test/namespace"},
      {R"(definitions={"check": "yes"})", "/definitions/check"},
  };
  for (const auto& c : cases) {
    const Outcome rendered = render({c.values});
    EXPECT_NE(rendered.code, 0) << c.values;
    EXPECT_THAT(rendered.err, HasSubstr("values don't meet the specifications")) << c.values;
    EXPECT_THAT(rendered.err, HasSubstr(c.where)) << c.values;
  }
}

TEST(Chart, ThePolicysSettingsAreThoseThatTheProgramsRead) {
  std::ifstream in(chart() / "values.schema.json");
  const json schema = json::parse(in);
  const json& properties = schema.at("properties").at("policy").at("properties");
  ASSERT_GE(properties.size(), 8U);
  for (const auto& [key, property] : properties.items()) {
    const std::string type = property.at("type");
    const json value = type == "array" ? json::array() : type == "boolean" ? json(false) : json(60);
    const auto settings = policy::parse_settings(json{{key, value}}.dump());
    EXPECT_TRUE(settings) << key << ": " << settings.error();
  }
  for (const Strings& values : variations()) {
    const json config = named(objects(values), "ConfigMap", "palisade-config");
    const auto settings = policy::parse_settings(config["data"]["policy.json"].get<std::string>());
    EXPECT_TRUE(settings) << settings.error();
  }
}

// --- Rights ---

TEST(Chart, NoRuleHasAWildcardOrARightThatMakesRights) {
  const auto all = objects();
  std::vector<json> roles = of_kind(all, "ClusterRole");
  std::ranges::move(of_kind(all, "Role"), std::back_inserter(roles));
  ASSERT_EQ(roles.size(), 13U);
  for (const json& role : roles) {
    EXPECT_FALSE(role.contains("aggregationRule")) << name_of(role);
    ASSERT_FALSE(role["rules"].empty());
    for (const json& rule : role["rules"]) {
      const std::string what = name_of(role) + ": " + rule.dump();
      EXPECT_EQ(rule.dump().find('*'), std::string::npos) << what;
      EXPECT_FALSE(rule.contains("nonResourceURLs")) << what;
      const auto verbs = strings_of(rule, "verbs");
      EXPECT_THAT(verbs, Not(Contains(AnyOf("escalate", "bind", "impersonate", "deletecollection",
                                            "approve", "sign"))))
          << what;
      const auto resources = strings_of(rule, "resources");
      EXPECT_THAT(resources, Not(Contains(AnyOf("pods/exec", "pods/attach", "pods/portforward",
                                                "pods/ephemeralcontainers", "nodes", "nodes/proxy",
                                                "serviceaccounts/token", "roles", "clusterroles",
                                                "rolebindings", "clusterrolebindings"))))
          << what;
      EXPECT_THAT(strings_of(rule, "apiGroups"), Not(Contains("rbac.authorization.k8s.io")))
          << what;
    }
  }
}

TEST(Chart, SecretsAreReadByNameAndNeverListed) {
  int rules = 0;
  for (const json& object : objects()) {
    const std::string kind = object.at("kind");
    if (kind != "ClusterRole" && kind != "Role") continue;
    for (const json& rule : object["rules"]) {
      if (!strings_of(rule, "resources").contains("secrets")) continue;
      ++rules;
      // But by the gateway, in its own namespace, as keys rotate.
      if (name_of(object) == "palisade-gateway") {
        EXPECT_EQ(kind, "Role");
        EXPECT_EQ(object["metadata"]["namespace"], "palisade-gateway");
        EXPECT_THAT(strings_of(rule, "verbs"), Not(Contains(AnyOf("patch", "delete")))) << rule;
        continue;
      }
      // And by the operator there, to find what workspaces left behind.
      if (name_of(object) == "palisade-operator-git-tokens") {
        EXPECT_EQ(kind, "Role");
        EXPECT_EQ(object["metadata"]["namespace"], "palisade-gateway");
        EXPECT_EQ(strings_of(rule, "verbs"), std::set<std::string>{"list"}) << rule;
        continue;
      }
      EXPECT_THAT(strings_of(rule, "verbs"), Not(Contains(AnyOf("list", "watch")))) << rule;
      EXPECT_THAT(strings_of(rule, "resources"), UnorderedElementsAre("secrets")) << rule;
      if (name_of(object) == "palisade-webhook") {
        EXPECT_EQ(kind, "Role");  // its own namespace alone
        EXPECT_TRUE(rule.contains("resourceNames") ||
                    strings_of(rule, "verbs") == std::set<std::string>{"create"})
            << rule;
      }
    }
  }
  EXPECT_EQ(rules, 7);
}

TEST(Chart, TheWebhookChangesNothingButItsOwnConfigurationAndSecret) {
  const auto all = objects();
  const json role = named(all, "ClusterRole", "palisade-webhook");
  for (const json& rule : role.at("rules")) {
    const bool reads = std::ranges::all_of(strings_of(rule, "verbs"), [](const std::string& verb) {
      return verb == "get" || verb == "list" || verb == "watch";
    });
    // A report of existing pods in any namespace, by its one name.
    const std::set<std::string> reports{"policyreports", "reports"};
    if (strings_of(rule, "resources") == reports) {
      const std::set<std::string> unnamed{"create", "list"};
      EXPECT_TRUE(strings_of(rule, "resourceNames") == std::set<std::string>{"palisade"} ||
                  strings_of(rule, "verbs") == unnamed)
          << rule;
      continue;
    }
    // Events tell of used exceptions.
    if (strings_of(rule, "resources") == std::set<std::string>{"events"}) continue;
    EXPECT_TRUE(reads ||
                strings_of(rule, "resourceNames") == std::set<std::string>{"palisade-webhook"})
        << rule;
  }
}

TEST(Chart, RightsGoToItsOwnAccountsOnly) {
  for (const char* ns : {"palisade-system", "elsewhere"}) {
    const auto all = objects({}, ns);
    std::set<std::string> roles;
    std::set<std::string> bound;
    for (const json& object : all) {
      const std::string kind = object.at("kind");
      if (kind == "Role" || kind == "ClusterRole") roles.insert(kind + "/" + name_of(object));
      if (kind != "RoleBinding" && kind != "ClusterRoleBinding") continue;
      const std::string role = object["roleRef"]["kind"].get<std::string>() + "/" +
                               object["roleRef"]["name"].get<std::string>();
      bound.insert(role);
      ASSERT_EQ(object["subjects"].size(), 1U);
      const json& subject = object["subjects"][0];
      EXPECT_EQ(subject["kind"], "ServiceAccount");
      const bool gateway = subject["name"] == "palisade-gateway";
      EXPECT_EQ(subject["namespace"], gateway ? "palisade-gateway" : ns);
      EXPECT_NO_THROW(named(all, "ServiceAccount", subject["name"].get<std::string>()));
    }
    // None that is not its own, none unused but those that are there to be given.
    for (const char* given :
         {"ClusterRole/palisade-view", "ClusterRole/palisade-edit", "ClusterRole/palisade-admin",
          "ClusterRole/palisade-reader", "Role/palisade-reader"}) {
      EXPECT_EQ(roles.erase(given), 1U) << given;
    }
    EXPECT_EQ(roles, bound);
  }
}

TEST(Chart, ReadersReadAndAreWhomTheValuesName) {
  const auto all = objects({R"(readers={"users": ["jane"], "groups": ["developers"]})"});
  for (const auto& [kind, name] :
       std::vector<std::pair<const char*, const char*>>{{"ClusterRole", "palisade-view"},
                                                        {"ClusterRole", "palisade-reader"},
                                                        {"Role", "palisade-reader"}}) {
    const json role = named(all, kind, name);
    for (const json& rule : role.at("rules")) {
      EXPECT_THAT(strings_of(rule, "verbs"), ::testing::IsSubsetOf({"get", "list", "watch"}))
          << rule;
      EXPECT_THAT(strings_of(rule, "resources"), Not(Contains("secrets"))) << rule;
    }
  }
  // `edit` and `admin` take in what `view` has.
  const json view = named(all, "ClusterRole", "palisade-view");
  EXPECT_EQ(view.at("metadata").at("labels").at("rbac.authorization.k8s.io/aggregate-to-view"),
            "true");
  for (const char* kind : {"ClusterRoleBinding", "RoleBinding"}) {
    const json binding = named(all, kind, "palisade-reader");
    ASSERT_EQ(binding.at("subjects").size(), 2U);
    EXPECT_EQ(binding.at("subjects")[0].at("name"), "jane");
    EXPECT_EQ(binding.at("subjects")[0].at("kind"), "User");
    EXPECT_EQ(binding.at("subjects")[1].at("name"), "developers");
    EXPECT_EQ(binding.at("subjects")[1].at("kind"), "Group");
  }
}

// --- The gateway ---

TEST(Chart, TheGatewayHasItsNamespaceItsAudienceAndItsDocument) {
  const auto all = objects({R"(gateway={"namespace": "keys", "audience": "models"})",
                            R"(policy={"allowedTokenAudiences": ["vault"]})",
                            R"(gitCA="-----BEGIN CERTIFICATE-----\nAAAA\n")"});
  EXPECT_EQ(
      named(all, "Namespace", "keys")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
      "restricted");
  for (const char* kind : {"Deployment", "Service", "ServiceAccount", "Role", "RoleBinding",
                           "PodDisruptionBudget", "NetworkPolicy"})
    EXPECT_EQ(named(all, kind, "palisade-gateway")["metadata"]["namespace"], "keys") << kind;
  const json config = named(all, "ConfigMap", "palisade-gateway-config");
  const json document = json::parse(config["data"]["gateway.json"].get<std::string>());
  EXPECT_EQ(document["audience"], "models");
  EXPECT_EQ(document["git"]["spool"], "/spool");
  EXPECT_EQ(document["git"]["authorities"], "-----BEGIN CERTIFICATE-----\nAAAA\n");
  EXPECT_EQ(document["llm"]["upstreams"][0]["keySecret"]["name"], "openai");
  // All that judge pods know its audience, beside the administrator's.
  const std::string settings = named(all, "ConfigMap", "palisade-config")["data"]["policy.json"];
  EXPECT_EQ(settings, config["data"]["policy.json"]);
  EXPECT_EQ(policy::parse_settings(settings)->allowed_token_audiences,
            (Strings{"vault", "models"}));
  const json args = named(all, "Deployment",
                          "palisade-operator")["spec"]["template"]["spec"]["containers"][0]["args"];
  EXPECT_THAT(args, Contains("--gateway-url=https://palisade-gateway.keys.svc:8443"));
  EXPECT_THAT(args, Contains("--gateway-namespace=keys"));
  EXPECT_THAT(args, Contains("--gateway-audience=models"));
  EXPECT_THAT(args, Contains("--llm-gateway=default=palisade"));
}

TEST(Chart, OnlySessionsReachTheGateway) {
  const json policy = named(objects(), "NetworkPolicy", "palisade-gateway")["spec"];
  EXPECT_EQ(policy["policyTypes"], json({"Ingress", "Egress"}));
  ASSERT_EQ(policy["ingress"].size(), 1U);
  EXPECT_EQ(policy["ingress"][0]["from"],
            json::array({{{"namespaceSelector", json::object()},
                          {"podSelector", {{"matchLabels", {{"palisade.dev/agent", "aider"}}}}}}}));
  for (const json& rule : policy["egress"]) {
    EXPECT_FALSE(rule["to"].empty()) << "a rule without peers opens everything";
    EXPECT_FALSE(rule["ports"].empty());
  }
  EXPECT_EQ(named(objects(), "NetworkPolicy", "palisade-gateway-deny-all")["spec"],
            json({{"podSelector", json::object()}, {"policyTypes", {"Ingress", "Egress"}}}));
}

TEST(Chart, WithoutTheGatewayNothingSpeaksOfIt) {
  const Strings without{R"(gateway={"enabled": false})",
                        R"(llmGateways=[{"name": "default", "url": "http://llm.llm.svc/v1"}])"};
  const Outcome rendered = render(without);
  ASSERT_EQ(rendered.code, 0) << rendered.err;
  EXPECT_THAT(rendered.out, Not(HasSubstr("palisade-gateway")));
  const Outcome dangling = render({R"(gateway={"enabled": false})"});
  EXPECT_NE(dangling.code, 0);
  EXPECT_THAT(dangling.err, HasSubstr("give the URL of another"));
}

}  // namespace
}  // namespace palisade::chart::testing
