// The Helm chart as an administrator meets it: rendered by the real Helm, judged by the real
// `palisade check`, and asked for no more rights than it gives reasons for.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <policy/policy.h>
#include <policy/templates.h>

#include "courier/process.h"
#include "yaml_json.h"

namespace palisade::chart::testing {
namespace {

namespace fs = std::filesystem;
using courier::testing::Directory;
using courier::testing::Outcome;
using courier::testing::Process;
using nlohmann::json;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::UnorderedElementsAre;
using Strings = std::vector<std::string>;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
  return value;
}

fs::path chart() {
  return fs::path(environment("PALISADE_SOURCE_DIR")) / "charts/palisade";
}

Outcome run(Strings arguments, const fs::path& in = "/dev/null") {
  const Directory home;
  Process::Options options;
  options.environment.push_back("HOME=" + home.path().string());
  options.in = in;
  return courier::testing::run(std::move(arguments), options);
}

Outcome helm(Strings arguments) {
  const fs::path program = fs::path(environment("PALISADE_TOOLS_BIN")) / "helm";
  if (!fs::exists(program))
    throw std::runtime_error(program.string() + " is missing: build it with `make tools`");
  arguments.insert(arguments.begin(), program.string());
  return run(std::move(arguments));
}

// `values`: Helm's --set-json expressions.
Outcome render(const Strings& values = {}, const std::string& ns = "palisade-system") {
  Strings arguments{"template", "palisade", chart().string(), "--namespace", ns};
  for (const std::string& value : values) {
    arguments.emplace_back("--set-json");
    arguments.push_back(value);
  }
  return helm(std::move(arguments));
}

std::vector<json> objects_of(const std::string& yaml) {
  const auto documents = cli::read_yaml(yaml);
  if (!documents) throw std::runtime_error(documents.error().message);
  std::vector<json> out;
  for (const auto& document : *documents)
    out.push_back(json::parse(document.json));
  return out;
}

std::vector<json> objects(const Strings& values = {}, const std::string& ns = "palisade-system") {
  const Outcome rendered = render(values, ns);
  if (rendered.code != 0) throw std::runtime_error(rendered.err);
  return objects_of(rendered.out);
}

std::vector<json> of_kind(const std::vector<json>& all, std::string_view kind) {
  std::vector<json> out;
  std::ranges::copy_if(all, std::back_inserter(out),
                       [&](const json& one) { return one.at("kind") == kind; });
  return out;
}

std::string name_of(const json& object) {
  return object.at("metadata").at("name");
}

json named(const std::vector<json>& all, std::string_view kind, std::string_view name) {
  for (const json& one : of_kind(all, kind)) {
    if (name_of(one) == name) return one;
  }
  throw std::runtime_error(std::string(kind) + " " + std::string(name) + " is not in the chart");
}

// What sets of values an administrator may come with.
const std::vector<Strings>& variations() {
  static const std::vector<Strings> kVariations{
      {},
      {R"(image={"repository": "registry.example.com/x", "tag": "v9", "pullPolicy": "Always"})"},
      {R"(imagePullSecrets=["one", "two"])"},
      {R"(gitCA="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")"},
      {R"(llmGateways=[{"name": "a", "url": "https://a.example.com"},
           {"name": "b", "url": "http://b.llm.svc:80/v1"}])",
       R"(logLevel="debug")"},
      {R"(operator={"replicas": 0, "workers": 1, "transport": "beast"})",
       R"(webhook={"replicas": 3, "transport": "beast", "timeoutSeconds": 10,
           "exemptNamespaces": ["kube-system", "storage"]})"},
      {R"(policy={"maxLifetimeSeconds": 3600, "allowedVolumeTypes": ["emptyDir", "configMap",
           "secret", "projected", "downwardAPI"]})"},
      {"policy=null"},
  };
  return kVariations;
}

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
    EXPECT_THAT(checked.out, HasSubstr("2 pods checked: 2 compliant"));
  }
}

TEST(Chart, NothingElseIsSkippedForThem) {
  const Outcome rendered = render();
  const Outcome strict = check(rendered.out, {});
  EXPECT_EQ(strict.code, 1) << strict.out;
  EXPECT_THAT(strict.out, HasSubstr("[bounded-lifetime]"));
  EXPECT_THAT(strict.out, HasSubstr("[no-service-account-token]"));
  EXPECT_THAT(strict.out, HasSubstr("2 with findings (4)"));
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
      {R"(agentImage="")", "/agentImage"},
      {R"(agentImage=["x"])", "/agentImage"},
      {R"(llmGateways=[])", "/llmGateways"},
      {R"(llmGateways=[{"name": "a"}])", "/llmGateways/0"},
      {R"(llmGateways=[{"url": "https://x"}])", "/llmGateways/0"},
      {R"(llmGateways=[{"name": "A_b", "url": "https://x"}])", "/llmGateways/0/name"},
      {R"(llmGateways=[{"name": "a=b", "url": "https://x"}])", "/llmGateways/0/name"},
      {R"(llmGateways=[{"name": "a", "url": "ftp://x"}])", "/llmGateways/0/url"},
      {R"(llmGateways=[{"name": "a", "url": "x.example.com"}])", "/llmGateways/0/url"},
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
      {R"(operator={"replicas": 2})", "/operator/replicas"},
      {R"(operator={"workers": 0})", "/operator/workers"},
      {R"(operator={"transport": "curl"})", "/operator/transport"},
      {R"(operator={"resources": "small"})", "/operator/resources"},
      {R"(operator={"securityContext": {}})", "securityContext"},
      {R"(webhook={"replicas": 0})", "/webhook/replicas"},
      {R"(webhook={"timeoutSeconds": 0})", "/webhook/timeoutSeconds"},
      {R"(webhook={"timeoutSeconds": 31})", "/webhook/timeoutSeconds"},
      {R"(webhook={"failurePolicy": "Ignore"})", "failurePolicy"},
      {R"(webhook={"exemptNamespaces": "team-a"})", "/webhook/exemptNamespaces"},
      {R"(webhook={"transport": ""})", "/webhook/transport"},
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

std::set<std::string> strings_of(const json& rule, const char* key) {
  const json list = rule.value(key, json::array());
  return {list.begin(), list.end()};
}

TEST(Chart, NoRuleHasAWildcardOrARightThatMakesRights) {
  const auto all = objects();
  std::vector<json> roles = of_kind(all, "ClusterRole");
  std::ranges::move(of_kind(all, "Role"), std::back_inserter(roles));
  ASSERT_EQ(roles.size(), 4U);
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
  EXPECT_EQ(rules, 3);
}

TEST(Chart, TheWebhookChangesNothingButItsOwnConfigurationAndSecret) {
  const auto all = objects();
  const json role = named(all, "ClusterRole", "palisade-webhook");
  for (const json& rule : role.at("rules")) {
    const bool reads = std::ranges::all_of(strings_of(rule, "verbs"), [](const std::string& verb) {
      return verb == "get" || verb == "list" || verb == "watch";
    });
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
      EXPECT_EQ(subject["namespace"], ns);
      EXPECT_NO_THROW(named(all, "ServiceAccount", subject["name"].get<std::string>()));
    }
    EXPECT_EQ(roles, bound);  // none that is not its own, none unused
  }
}

// --- The webhook's registration ---

// group/resource and operation of each rule.
std::set<std::pair<std::string, std::string>> asked_of(const json& webhook) {
  std::set<std::pair<std::string, std::string>> asked;
  for (const json& rule : webhook.at("rules")) {
    EXPECT_EQ(rule["apiVersions"], json({"v1"}));
    for (const std::string& group : strings_of(rule, "apiGroups")) {
      for (const std::string& resource : strings_of(rule, "resources")) {
        for (const std::string& operation : strings_of(rule, "operations"))
          asked.emplace((group.empty() ? "" : group + "/") + resource, operation);
      }
    }
  }
  return asked;
}

TEST(Chart, TheApiServerAsksForEveryPodAndFailsClosed) {
  const json configuration = named(objects(), "ValidatingWebhookConfiguration", "palisade-webhook");
  ASSERT_EQ(configuration["webhooks"].size(), 2U);
  for (const json& webhook : configuration["webhooks"]) {
    EXPECT_EQ(webhook["matchPolicy"], "Equivalent");
    EXPECT_EQ(webhook["sideEffects"], "None");
    EXPECT_EQ(webhook["admissionReviewVersions"], json({"v1"}));
    // A pod could choose its labels, and an expression could be dodged.
    EXPECT_FALSE(webhook.contains("objectSelector"));
    EXPECT_FALSE(webhook.contains("matchConditions"));
    // The webhook writes it; Helm would take it away again.
    EXPECT_FALSE(webhook["clientConfig"].contains("caBundle"));
  }
  const json& pods = configuration["webhooks"][0];
  EXPECT_EQ(pods["failurePolicy"], "Fail");
  EXPECT_THAT(asked_of(pods),
              UnorderedElementsAre(std::pair("pods", "CREATE"), std::pair("pods", "UPDATE"),
                                   std::pair("pods/ephemeralcontainers", "UPDATE"),
                                   std::pair("pods/resize", "UPDATE")));
}

// Every kind that the policy knows as a maker of pods; an outage does not hold those up, since
// their pods are asked for anyway.
TEST(Chart, TheApiServerAsksForWhateverMakesPods) {
  const json configuration = named(objects(), "ValidatingWebhookConfiguration", "palisade-webhook");
  const json& workloads = configuration["webhooks"].at(1);
  EXPECT_EQ(workloads["failurePolicy"], "Ignore");
  std::set<std::pair<std::string, std::string>> known;
  for (const palisade::policy::PodTemplate& kind : palisade::policy::pod_templates()) {
    if (kind.resource == "pods") continue;
    const std::string group(kind.group);
    for (const char* operation : {"CREATE", "UPDATE"})
      known.emplace((group.empty() ? "" : group + "/") + std::string(kind.resource), operation);
  }
  EXPECT_EQ(asked_of(workloads), known);
}

TEST(Chart, OnlyItsOwnNamespaceAndTheNamedOnesAreExempt) {
  const struct {
    Strings values;
    const char* ns;
    json exempt;
  } cases[] = {
      {{}, "palisade-system", {"kube-system", "palisade-system"}},
      {{}, "elsewhere", {"kube-system", "elsewhere"}},
      {{}, "kube-system", {"kube-system"}},
      {{R"(webhook={"exemptNamespaces": []})"}, "palisade-system", {"palisade-system"}},
      {{R"(webhook={"exemptNamespaces": ["a", "b"]})"}, "c", {"a", "b", "c"}},
  };
  for (const auto& c : cases) {
    const json configuration =
        named(objects(c.values, c.ns), "ValidatingWebhookConfiguration", "palisade-webhook");
    for (const json& webhook : configuration["webhooks"]) {
      EXPECT_EQ(webhook["namespaceSelector"], json({{"matchExpressions",
                                                     {{{"key", "kubernetes.io/metadata.name"},
                                                       {"operator", "NotIn"},
                                                       {"values", c.exempt}}}}}));
    }
  }
}

TEST(Chart, TheServiceLeadsToTheWebhook) {
  const auto all = objects({}, "elsewhere");
  const json configuration = named(all, "ValidatingWebhookConfiguration", "palisade-webhook");
  EXPECT_EQ(configuration["webhooks"][0]["clientConfig"],
            configuration["webhooks"][1]["clientConfig"]);
  const json& target = configuration["webhooks"][0]["clientConfig"]["service"];
  EXPECT_EQ(target["namespace"], "elsewhere");
  EXPECT_EQ(target["path"], "/validate");
  const json service = named(all, "Service", target["name"].get<std::string>());
  ASSERT_EQ(service["spec"]["ports"].size(), 1U);
  EXPECT_EQ(service["spec"]["ports"][0]["port"], target["port"]);
  const json deployment = named(all, "Deployment", "palisade-webhook");
  const json& pod = deployment["spec"]["template"];
  for (const auto& [key, value] : service["spec"]["selector"].items())
    EXPECT_EQ(pod["metadata"]["labels"].value(key, ""), value) << key;
  const json& container = pod["spec"]["containers"][0];
  EXPECT_THAT(container["ports"],
              Contains(json(
                  {{"name", service["spec"]["ports"][0]["targetPort"]}, {"containerPort", 8443}})));
  // The certificate names this Service, and the caBundle goes into this configuration.
  for (const char* argument : {"--service=palisade-webhook", "--namespace=elsewhere",
                               "--webhook-configuration=palisade-webhook", "--port=8443"})
    EXPECT_THAT(container["args"], Contains(argument));
  // No selector of one program takes in the other's pods.
  EXPECT_NE(named(all, "Deployment", "palisade-operator")["spec"]["selector"],
            deployment["spec"]["selector"]);
}

TEST(Chart, TheCustomResourceDefinitionIsTheRepositorys) {
  const Outcome shown = helm({"show", "crds", chart().string()});
  ASSERT_EQ(shown.code, 0) << shown.err;
  std::ifstream in(fs::path(environment("PALISADE_SOURCE_DIR")) /
                   "crds/agentworkspaces.palisade.dev.yaml");
  const std::string source{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(objects_of(shown.out), objects_of(source));
  EXPECT_THAT(objects_of(source), Not(IsEmpty()));
}

}  // namespace
}  // namespace palisade::chart::testing
