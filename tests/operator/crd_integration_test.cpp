// The CustomResourceDefinition in a real API server: what it takes, what it refuses and with which
// words, what it fills in, what it never lets change, and that it explains itself.
#include <set>

#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "definitions.h"
#include "operator/fixture.h"

namespace palisade::op::testing {
namespace {

using kube::Client;
using kube::EnvTest;
using kube::PatchType;

Json fresh(const std::string& name = "fix-login") {
  Json object = usual_workspace();
  object["metadata"] = {{"name", name}, {"namespace", "default"}};
  return object;
}

// `value` at `pointer`, parents made as needed.
Json with(const std::string& pointer, const Json& value, Json object = fresh()) {
  object[Json::json_pointer(pointer)] = value;
  return object;
}

class CrdTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    const auto installed = install_definitions(*env_, {"agentworkspaces"});
    ASSERT_TRUE(installed) << installed.error().text();
    client_ = Client::connect(env_->config(), Client::TransportKind::kBeast);
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }
  void SetUp() override { ASSERT_TRUE(client_); }

  // Made, and gone again.
  static kube::Result<Json> tried(const Json& object) {
    auto made = client_->create(workspaces(), "default", object);
    if (made) {
      const auto gone =
          client_->remove(workspaces(), "default", object["metadata"]["name"].get<std::string>());
      if (!gone) return std::unexpected(gone.error());
    }
    return made;
  }

  // "" in `refusal`: accepted.
  static void expect(const std::string& what, const kube::Result<Json>& outcome,
                     const std::string& refusal) {
    if (refusal.empty()) {
      EXPECT_TRUE(outcome) << what << ": " << outcome.error().text();
      return;
    }
    ASSERT_FALSE(outcome) << what << " was accepted";
    EXPECT_EQ(outcome.error().code, 422) << what << ": " << outcome.error().text();
    EXPECT_NE(outcome.error().text().find(refusal), std::string::npos)
        << what << ": " << outcome.error().text();
  }

  static inline std::unique_ptr<EnvTest> env_;
  static inline std::unique_ptr<Client> client_;
};

TEST_F(CrdTest, NamesAreDnsLabelsOfAtMost50Characters) {
  const std::string broken = "must be a DNS label (no dots) of at most 50 characters";
  const std::pair<std::string, std::string> rows[] = {
      {"a", ""},       {"0-9", ""}, {std::string(50, 'a'), ""}, {std::string(51, 'a'), broken},
      {"a.b", broken},
  };
  for (const auto& [name, refusal] : rows) {
    Json object = fresh(name);
    expect(name, tried(object), refusal);
  }
}

TEST_F(CrdTest, RepositoryUrls) {
  const std::string https = "must be an https URL";
  const std::string secret = "must not carry credentials";
  const std::string shape = "must be https://HOST[:PORT]/PATH";
  const std::pair<std::string, std::string> rows[] = {
      {"https://git.example.com/team/app.git", ""},
      {"https://git.example.com:8443/app", ""},
      {"https://git.example.com/a/b/c/d/", ""},
      {"https://192.0.2.10/team/app.git", ""},
      {"https://[2001:db8::1]:3000/team/app.git", ""},
      {"https://gitea.git.svc/~team/app%20one.git", ""},
      {"http://git.example.com/app", https},
      {"ext::sh -c reboot", https},
      {"file:///etc/passwd", https},
      {"/etc/passwd", https},
      {"ssh://git.example.com/app", https},
      {"git@git.example.com:app", https},
      {"git://git.example.com/app", https},
      {"HTTPS://git.example.com/app", https},
      {" https://git.example.com/app", https},
      {"-uupload-pack", https},
      {"https://user:secret@git.example.com/app", secret},
      {"https://token@git.example.com/app", secret},
      {"https://git.example.com/app@1", secret},
      {"https://git.example.com", shape},
      {"https://git.example.com/", shape},
      {"https:///app", shape},
      {"https://-oProxyCommand/app", shape},
      {"https://git.example.com/app?x=1", shape},
      {"https://git.example.com/app#x", shape},
      {"https://git.example.com/a b", shape},
      {"https://git.example.com/a//b", shape},
      {"https://git.example.com/a\nb", shape},
      {"https://git.example.com/app\n", shape},
      {"https://git.example.com/a\\b", shape},
      {"https://git.example.com:port/a", shape},
      {"https://git.example.com/$(id)", shape},
      {"https://g\u0131t.example.com/a", shape},
      {"https://git.example.com/../app", "must not climb out"},
      {"https://git.example.com/app/..", "must not climb out"},
      {"", "spec.repository.url"},
      {"https://git.example.com/" + std::string(2048, 'a'), "Too long"},
  };
  for (const auto& [url, refusal] : rows)
    expect(url, tried(with("/spec/repository/url", url)), refusal);
}

TEST_F(CrdTest, RefsAndBranches) {
  const std::vector<std::string> good{"dev", "v1.2.3", "team/fix-1", "a_b", "x+y", "lock", "a.b/c"};
  const std::vector<std::string> bad{"-x",
                                     "--upload-pack=x",
                                     "a..b",
                                     "a//b",
                                     "a/",
                                     "/a",
                                     "a.",
                                     "a.lock",
                                     "a.lock/b",
                                     "refs/heads/x",
                                     "HEAD",
                                     "a b",
                                     "a~1",
                                     "a^",
                                     "a:b",
                                     "a?",
                                     "a*",
                                     "a[b",
                                     "a\\b",
                                     "@{-1}",
                                     "a\nb",
                                     "a@b",
                                     ".a",
                                     "a/.b",
                                     "",
                                     "$(id)",
                                     "+dev",
                                     "\u00e9",
                                     std::string(201, 'a')};
  for (const std::string field : {"ref", "branch"}) {
    const std::string pointer = "/spec/repository/" + field;
    for (const std::string& name : good)
      expect(field + " " + name, tried(with(pointer, name)), "");
    for (const std::string& name : bad)
      expect(field + " " + name, tried(with(pointer, name)), "spec.repository." + field);
  }
}

TEST_F(CrdTest, BranchDiffersFromRef) {
  Json object = with("/spec/repository/branch", "dev");
  expect("another ref", tried(object), "");
  object["spec"]["repository"]["ref"] = "dev";
  expect("the same", tried(object), "branch must differ from ref");
  expect("main by default", tried(with("/spec/repository/branch", "main")),
         "branch must differ from ref");
  expect("the default branch as ref", tried(with("/spec/repository/ref", "palisade/fix-login")),
         "spec.repository.branch defaults to palisade/NAME");
  expect("another's default branch", tried(with("/spec/repository/ref", "palisade/other")), "");
}

TEST_F(CrdTest, Durations) {
  const std::string deadline = "must be a duration from 1m to 24h";
  const std::string limit = "must be a duration from 10s to 24h";
  const std::string ttl = "must be a duration from 0s to 168h";
  struct Row {
    std::string field, value, refusal;
  };
  const Row rows[] = {
      {"deadline", "1m", ""},
      {"deadline", "60s", ""},
      {"deadline", "24h", ""},
      {"deadline", "1h30m", ""},
      {"deadline", "1h1m1s", ""},
      {"deadline", "59s", deadline},
      {"deadline", "24h1s", deadline},
      {"deadline", "0s", deadline},
      {"deadline", "", deadline},
      {"deadline", "-1h", deadline},
      {"deadline", "1.5h", deadline},
      {"deadline", "1d", deadline},
      {"deadline", "90", deadline},
      {"deadline", "1m1h", deadline},
      {"deadline", "1h ", deadline},
      {"deadline", "1h\n", deadline},
      {"deadline", "forever", deadline},
      {"deadline", "99999999999999999999h", "spec.lifecycle.deadline"},
      {"deadline", std::string(33, '1'), "spec.lifecycle.deadline"},
      {"idleTimeout", "10s", ""},
      {"idleTimeout", "24h", ""},
      {"idleTimeout", "9s", limit},
      {"idleTimeout", "24h1s", limit},
      {"idleTimeout", "", limit},
      {"idleTimeout", "-1m", limit},
      {"commandTimeout", "90s", ""},
      {"commandTimeout", "1d", limit},
      {"commandTimeout", "0s", limit},
      {"ttlAfterFinished", "0s", ""},
      {"ttlAfterFinished", "168h", ""},
      {"ttlAfterFinished", "168h1s", ttl},
      {"ttlAfterFinished", "1w", ttl},
      {"ttlAfterFinished", "", ttl},
  };
  for (const Row& row : rows)
    expect(row.field + " " + row.value, tried(with("/spec/lifecycle/" + row.field, row.value)),
           row.refusal);
}

TEST_F(CrdTest, TaskFiles) {
  const std::string outside = "must be a path inside the repository";
  const std::pair<std::string, std::string> rows[] = {{"src/login.py", ""},
                                                      {"a b", ""},
                                                      {"..a", ""},
                                                      {"a../b", ""},
                                                      {"/etc/passwd", outside},
                                                      {"-x", outside},
                                                      {"..", outside},
                                                      {"../x", outside},
                                                      {"a/../../x", outside},
                                                      {"a/..", outside},
                                                      {"", "spec.task.files"}};
  for (const auto& [file, refusal] : rows)
    expect(file, tried(with("/spec/task/files", Json::array({file}))), refusal);
  expect("101 files", tried(with("/spec/task/files", std::vector<std::string>(101, "a"))),
         "spec.task.files");
}

TEST_F(CrdTest, OtherFields) {
  struct Row {
    std::string pointer;
    Json value;
    std::string refusal;
  };
  const Row rows[] = {
      {"/spec/agent/image", "registry.example.com/a/b@sha256:00", ""},
      {"/spec/agent/image", "", "spec.agent.image"},
      {"/spec/agent/image", "-x", "spec.agent.image"},
      {"/spec/agent/image", "a b", "spec.agent.image"},
      {"/spec/agent/model", "anthropic/claude-3.5:beta", ""},
      {"/spec/agent/model", "--yes", "spec.agent.model"},
      {"/spec/agent/model", "a\nb", "spec.agent.model"},
      {"/spec/agent/resources/limits", {{"cpu", "1500m"}, {"memory", "3Gi"}}, ""},
      {"/spec/agent/resources/limits", {{"cpu", 2}}, ""},
      {"/spec/agent/resources/limits", {{"cpu", "much"}}, "spec.agent.resources.limits.cpu"},
      {"/spec/agent/resources/limits", {{"cpu", "-1"}}, "spec.agent.resources.limits.cpu"},
      {"/spec/agent/resources/limits", {{"cpu", true}}, "spec.agent.resources.limits.cpu"},
      {"/spec/agent/resources/requests",
       {{"memory", "1 Gi"}},
       "spec.agent.resources.requests.memory"},
      {"/spec/repository/access", "ReadOnly", ""},
      {"/spec/repository/access", "readonly", "spec.repository.access"},
      {"/spec/repository/access", "Admin", "spec.repository.access"},
      {"/spec/repository/credentials", Json::object(), "needs exactly one of secretRef"},
      {"/spec/repository/credentials/secretRef", Json::object(),
       "spec.repository.credentials.secretRef.name"},
      {"/spec/repository/credentials/secretRef/name", "Other", "credentials.secretRef.name"},
      {"/spec/repository/credentials/secretRef/name", "a/b", "credentials.secretRef.name"},
      {"/spec/repository/credentials/secretRef/key", "a/b", "credentials.secretRef.key"},
      {"/spec/repository/credentials/secretRef/username", "oauth2", ""},
      {"/spec/repository/credentials/secretRef/username", "a:b", "credentials.secretRef.username"},
      {"/spec/repository/credentials/secretRef/username", "a\nb", "credentials.secretRef.username"},
      {"/spec/task", {{"files", {"a"}}}, "spec.task.message"},
      {"/spec/task/message", "", "spec.task.message"},
      {"/spec/task/message", std::string(32768, 'x'), ""},
      {"/spec/task/message", std::string(32769, 'x'), "spec.task.message"},
      {"/spec/task/testCommand", std::vector<std::string>(33, "a"), "spec.task.testCommand"},
      {"/spec/task/testCommand", Json::array({""}), "spec.task.testCommand[0]"},
      {"/spec/task/lintCommand", std::vector<std::string>(33, "a"), "spec.task.lintCommand"},
      {"/spec/task/lintCommand", Json::array({"ruff", "check"}), ""},
      {"/spec/task/rounds", 0, "spec.task.rounds"},
      {"/spec/task/rounds", 21, "spec.task.rounds"},
      {"/spec/task/rounds", 20, ""},
      {"/spec/llm/gateway", "Default", "spec.llm.gateway"},
      {"/spec/llm/gateway", "https://evil.example.com", "spec.llm.gateway"},
      {"/spec/isolation/userNamespace", false, ""},
      {"/spec/isolation/userNamespace", "false", "spec.isolation.userNamespace"},
      {"/spec/isolation/runtimeClassName", "gvisor", ""},
      {"/spec/isolation/runtimeClassName", "g visor", "spec.isolation.runtimeClassName"},
      {"/spec/lifecycle/maxRestarts", 0, ""},
      {"/spec/lifecycle/maxRestarts", 10, ""},
      {"/spec/lifecycle/maxRestarts", 11, "spec.lifecycle.maxRestarts"},
      {"/spec/lifecycle/maxRestarts", -1, "spec.lifecycle.maxRestarts"},
      {"/spec/lifecycle/maxRestarts", "3", "spec.lifecycle.maxRestarts"},
      {"/spec/lifecycle/suspend", true, ""},
      {"/spec/lifecycle/suspend", "yes", "spec.lifecycle.suspend"},
  };
  for (const Row& row : rows)
    expect(row.pointer + " " + row.value.dump().substr(0, 80), tried(with(row.pointer, row.value)),
           row.refusal);
}

TEST_F(CrdTest, GatewayFields) {
  const Json app{{"appId", 7}, {"privateKeySecretRef", {{"name", "app"}}}};
  const Json secret{{"name", "s"}};
  const std::string one = "needs exactly one of secretRef, githubApp, gitlab and gitea";
  const std::string credentials = "/spec/repository/credentials";
  struct Row {
    std::string pointer;
    Json value;
    std::string refusal;
  };
  const Row rows[] = {
      {"/spec/repository/via", "Direct", ""},
      {"/spec/repository/via", "Gateway", ""},
      {"/spec/repository/via", "direct", "spec.repository.via"},
      {credentials, {{"githubApp", app}}, ""},
      {credentials, {{"gitlab", {{"secretRef", secret}, {"role", "Maintainer"}}}}, ""},
      {credentials, {{"gitea", {{"secretRef", secret}}}}, ""},
      {credentials, {{"githubApp", app}, {"gitea", {{"secretRef", secret}}}}, one},
      {credentials, {{"secretRef", secret}, {"gitlab", {{"secretRef", secret}}}}, one},
      {credentials, {{"githubApp", {{"appId", 7}}}}, "privateKeySecretRef"},
      {credentials, {{"githubApp", {{"appId", 0}, {"privateKeySecretRef", secret}}}}, "appId"},
      {credentials, {{"githubApp", {{"appId", "7"}, {"privateKeySecretRef", secret}}}}, "appId"},
      {credentials + "/githubApp",
       {{"appId", 7}, {"privateKeySecretRef", secret}, {"apiUrl", "http://api.example.com"}},
       "must be https://HOST"},
      {credentials, {{"gitlab", {{"secretRef", secret}, {"role", "Owner"}}}}, "gitlab.role"},
      {credentials,
       {{"gitea", {{"secretRef", secret}, {"apiUrl", "https://a@b.example.com/api"}}}},
       "must be https://HOST"},
      {credentials,
       {{"gitea", {{"secretRef", secret}, {"apiUrl", "https://[2001:db8::1]:3000/api/v1"}}}},
       ""},
      {"/spec/repository/mergeRequest", Json::object(), ""},
      {"/spec/repository/mergeRequest", {{"title", "Fix"}, {"draft", true}}, ""},
      {"/spec/repository/mergeRequest", {{"title", ""}}, "mergeRequest.title"},
      {"/spec/llm/models", {"gpt-4o-mini", "a/b:c"}, ""},
      {"/spec/llm/models", {"--yes"}, "spec.llm.models[0]"},
      {"/spec/llm/models", {"a", "a"}, "spec.llm.models[1]"},
      {"/spec/llm/budget", {{"tokens", 100000}, {"requestsPerMinute", 10}, {"cost", "5.00"}}, ""},
      {"/spec/llm/budget", {{"tokens", 0}}, "spec.llm.budget.tokens"},
      {"/spec/llm/budget", {{"tokens", "1"}}, "spec.llm.budget.tokens"},
      {"/spec/llm/budget", {{"requestsPerMinute", -1}}, "spec.llm.budget.requestsPerMinute"},
      {"/spec/llm/budget", {{"cost", "0.00"}}, "must be an amount above 0"},
      {"/spec/llm/budget", {{"cost", "5.0000001"}}, "spec.llm.budget.cost"},
      {"/spec/llm/budget", {{"cost", "1e3"}}, "spec.llm.budget.cost"},
      {"/spec/llm/budget", {{"cost", 5}}, "spec.llm.budget.cost"},
      {"/spec/llm/keySecretRef", secret, ""},
      {"/spec/llm/keySecretRef", {{"key", "k"}}, "keySecretRef.name"},
      {"/spec/llm/keySecretRef", {{"name", "S"}}, "keySecretRef.name"},
  };
  for (const Row& row : rows) {
    Json object = fresh();
    if (row.pointer.starts_with(credentials)) object["spec"]["repository"].erase("credentials");
    expect(row.pointer + " " + row.value.dump(), tried(with(row.pointer, row.value, object)),
           row.refusal);
  }
  // Defaults.
  Json object = fresh("gateway-defaults");
  object["spec"]["repository"]["credentials"] = {{"githubApp", app}};
  object["spec"]["repository"]["mergeRequest"] = Json::object();
  object["spec"]["llm"]["keySecretRef"] = secret;
  const auto made = client_->create(workspaces(), "default", object);
  ASSERT_TRUE(made) << made.error().text();
  const Json& spec = made->at("spec");
  EXPECT_EQ(
      spec["repository"]["credentials"]["githubApp"],
      Json({{"appId", 7}, {"privateKeySecretRef", {{"name", "app"}, {"key", "private-key.pem"}}}}));
  EXPECT_EQ(spec["repository"]["mergeRequest"], Json({{"draft", false}}));
  EXPECT_EQ(spec["llm"]["keySecretRef"], Json({{"name", "s"}, {"key", "api-key"}}));
  EXPECT_FALSE(spec["repository"].contains("via"));
  EXPECT_TRUE(parse_workspace(*made)) << parse_workspace(*made).error();
}

TEST_F(CrdTest, AgentPolicyFields) {
  const auto installed = install_definitions(*env_, {"agentpolicies"});
  ASSERT_TRUE(installed) << installed.error().text();
  static const kube::Resource kPolicies{"palisade.dev", "v1alpha1", "agentpolicies", "AgentPolicy",
                                        false};
  const std::pair<Json, std::string> rows[] = {
      {{{"allowedModels", {"gpt-4o"}}}, ""},
      {{{"allowedModels", {""}}}, "allowedModels[0]"},
      {{{"limits", {{"maxRunning", 0}}}}, ""},
      {{{"limits", {{"maxRunning", 200}}}}, ""},
      {{{"limits", Json::object()}}, ""},
      {{{"limits", {{"maxRunning", -1}}}}, "spec.limits.maxRunning"},
      {{{"limits", {{"maxRunning", "3"}}}}, "spec.limits.maxRunning"},
      {{{"archive", {{"required", true}}}}, ""},
      {{{"archive", {{"required", "yes"}}}}, "spec.archive.required"},
      {{{"allowedRepositories",
         {"https://git.example.com/*", "https://git.example.com:8443/team/app.git",
          "https://[2001:db8::1]/team/*"}}},
       ""},
      {{{"allowedRepositories", {"https://git.example.com"}}}, "must be https://HOST"},
      {{{"allowedRepositories", {"https://git.example.com/team*"}}}, "must be https://HOST"},
      {{{"allowedRepositories", {"https://git.example.com/*/app"}}}, "must be https://HOST"},
      {{{"allowedRepositories", {"https://git.example.com/a/../*"}}}, "must be https://HOST"},
      {{{"allowedRepositories", {"git.example.com/*"}}}, "must be https://HOST"},
      {{{"llmBudget",
         {{"perWorkspace", {{"tokens", 1}, {"requestsPerMinute", 1}, {"cost", "0.01"}}},
          {"perNamespace",
           {{"tokensPerDay", 1}, {"requestsPerMinute", 1}, {"costPerDay", "10"}}}}}},
       ""},
      {{{"llmBudget", {{"perWorkspace", {{"tokens", 0}}}}}}, "perWorkspace.tokens"},
      {{{"llmBudget", {{"perNamespace", {{"costPerDay", "0"}}}}}}, "must be an amount above 0"},
      {Json::parse(
           R"({"setup": {"mirrors": [{"name": "pypi.example.com", "addresses": ["192.0.2.1", "2001:db8::1"]}]}})"),
       ""},
      {Json::parse(R"({"setup": {"mirrors": []}})"), ""},
      {Json::parse(R"({"setup": {"mirrors": [{"name": "pypi.example.com"}]}})"), "addresses"},
      {Json::parse(R"({"setup": {"mirrors": [{"name": "a", "addresses": ["192.0.2.0/24"]}]}})"),
       "must be an IP address"},
      {Json::parse(R"({"setup": {"mirrors": [{"name": "A", "addresses": ["192.0.2.1"]}]}})"),
       "spec.setup.mirrors[0].name"},
  };
  int number = 0;
  for (const auto& [spec, refusal] : rows) {
    const std::string name = "bound-" + std::to_string(++number);
    auto made = client_->create(kPolicies, "",
                                {{"apiVersion", "palisade.dev/v1alpha1"},
                                 {"kind", "AgentPolicy"},
                                 {"metadata", {{"name", name}}},
                                 {"spec", spec}});
    expect(spec.dump(), made, refusal);
    if (!made) continue;
    // Whatever the API server takes, the policy reads.
    simdjson::dom::parser parser;
    const simdjson::padded_string text(made->dump());
    const auto read = policy::parse_agent_policy(parser.parse(text));
    EXPECT_TRUE(read) << spec << ": " << read.error();
  }
}

TEST_F(CrdTest, Programs) {
  const std::string no_path = "must be the absolute path of a program";
  const std::string writable = "where nothing is ever executable";
  const std::pair<std::string, std::string> rows[] = {
      {"/usr/bin/make", ""},
      {"/opt/tool-1.2/bin/x+y", ""},
      {"/usr/bin/..foo", ""},
      {"make", no_path},
      {"./make", no_path},
      {"/usr/bin/", no_path},
      {"/usr//bin/make", no_path},
      {"/usr/../bin/sh", no_path},
      {"/usr/./bin/sh", no_path},
      {"/usr/bin/a\nb", no_path},
      {"/workspace/repo/tool", writable},
      {"/tmp/x", writable},
      {"/proc/self/exe", writable},
      {"/palisade/bin/palisade-guard", writable},
      {"/dev/shm/x", writable},
      {"", "spec.isolation.exec.allow"},
      {"/" + std::string(512, 'x'), "spec.isolation.exec.allow"},
  };
  for (const auto& [path, refusal] : rows)
    expect(path.substr(0, 60), tried(with("/spec/isolation/exec", {{"allow", {path}}})), refusal);
  expect("Audit", tried(with("/spec/isolation/exec", {{"mode", "Audit"}})), "");
  expect("Off", tried(with("/spec/isolation/exec", {{"mode", "Off"}})), "spec.isolation.exec.mode");
}

TEST_F(CrdTest, Egress) {
  const std::string either = "needs either ipBlock, or podSelector and namespaceSelector";
  const Json block{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}};
  const Json pods{{"podSelector", {{"matchLabels", {{"app", "db"}}}}}};
  struct Row {
    Json rule;
    std::string refusal;
  };
  const Row rows[] = {
      {{{"to", Json::array({block})}}, ""},
      {{{"to", Json::array({pods})}, {"ports", Json::array({{{"port", 5432}}})}}, ""},
      {{{"to", Json::array({pods})},
        {"ports", Json::array({{{"port", "http"}, {"protocol", "UDP"}}})}},
       ""},
      {{{"to", Json::array({{{"namespaceSelector", Json::object()}}})}}, ""},
      {{{"to", Json::array()}}, "egress[0].to"},
      {{{"ports", Json::array({{{"port", 1}}})}}, "egress[0].to"},
      {Json::object(), "egress[0].to"},
      {{{"to", Json::array({Json::object()})}}, either},
      {{{"to", Json::array({{{"ipBlock", block["ipBlock"]}, {"podSelector", Json::object()}}})}},
       either},
      {{{"to", Json::array({{{"ipBlock", Json::object()}}})}}, "ipBlock.cidr"},
      {{{"to", Json::array({block})}, {"ports", Json::array({{{"protocol", "ICMP"}}})}},
       "ports[0].protocol"},
      {{{"to", Json::array({block})}, {"ports", Json::array({{{"port", 1}, {"endPort", 65536}}})}},
       "ports[0].endPort"},
  };
  for (const Row& row : rows)
    expect(row.rule.dump(), tried(with("/spec/isolation/egress", Json::array({row.rule}))),
           row.refusal);
  expect("17 rules",
         tried(with("/spec/isolation/egress",
                    std::vector<Json>(17, Json{{"to", Json::array({block})}}))),
         "spec.isolation.egress");
}

TEST_F(CrdTest, Mounts) {
  const auto mounted = [](const Json& change) {
    Json object = fresh();
    object["spec"].merge_patch(change);
    return object;
  };
  struct Row {
    Json change;
    std::string refusal;
  };
  const Row rows[] = {
      {{{"repository", {{"mount", "ReadWrite"}}}}, ""},
      {{{"repository", {{"mount", "GitDirOnly"}}}}, ""},
      {{{"repository", {{"mount", "GitDirOnly"}, {"access", "ReadOnly"}}}}, ""},
      {{{"repository", {{"mount", "ReadWrite"}}}, {"storage", {{"size", "1Gi"}}}}, ""},
      {{{"repository", {{"mount", "GitDirOnly"}}}, {"storage", {{"size", "1Gi"}}}},
       "storage goes with repository.mount ReadWrite alone"},
      {{{"repository", {{"mount", "ReadOnly"}, {"outputDir", "docs/reports"}}}}, ""},
      {{{"repository", {{"mount", "ReadOnly"}, {"outputDir", "a"}, {"access", "ReadOnly"}}}}, ""},
      {{{"repository", {{"mount", "ReadOnly"}, {"outputDir", "a"}}},
        {"storage", {{"size", "1Gi"}}}},
       "storage goes with repository.mount ReadWrite alone"},
      {{{"repository", {{"mount", "ReadOnly"}}}}, "which needs it"},
      {{{"repository", {{"mount", "GitDirOnly"}, {"outputDir", "a"}}}}, "goes with mount ReadOnly"},
      {{{"repository", {{"outputDir", "a"}}}}, "goes with mount ReadOnly"},
      {{{"repository", {{"mount", "Everything"}}}}, "spec.repository.mount"},
      {{{"repository", {{"mount", ""}}}}, "spec.repository.mount"},
  };
  for (const Row& row : rows)
    expect(row.change.dump(), tried(mounted(row.change)), row.refusal);

  const std::string broken = "outputDir must be a path below the repository's root";
  const std::pair<std::string, std::string> directories[] = {
      {"a", ""},          {"a/b.c/d-e", ""},
      {"_x", ""},         {"/a", broken},
      {"a/", broken},     {"a//b", broken},
      {"..", broken},     {"a/../b", broken},
      {"./a", broken},    {".git", broken},
      {"a/.git", broken}, {"a/.git/hooks", broken},
      {"-a", broken},     {"a/-b", broken},
      {"a b", broken},    {"a\nb", broken},
      {"a\\b", broken},   {"\xc3\xbc", broken},
      {"", "outputDir"},  {std::string(201, 'a'), "outputDir"}};
  for (const auto& [directory, refusal] : directories) {
    expect(directory,
           tried(mounted({{"repository", {{"mount", "ReadOnly"}, {"outputDir", directory}}}})),
           refusal);
  }
}

TEST_F(CrdTest, Setups) {
  const auto with = [](const Json& change) {
    Json object = fresh();
    object["spec"]["setup"] = {{"command", {"make", "deps"}}};
    object["spec"]["setup"].merge_patch(change);
    return object;
  };
  const std::pair<const char*, const char*> rows[] = {
      {"{}", ""},
      {R"({"inputs": ["requirements.txt", "web/package-lock.json", ".tool-versions"]})", ""},
      {R"({"ref": "main"})", ""},
      {R"({"ref": "0123456789abcdef0123456789abcdef01234567"})", ""},
      {R"({"mirrors": []})", ""},
      {R"({"size": "1Gi", "storageClassName": "", "accessMode": "ReadWriteMany"})", ""},
      {R"({"timeout": "2h"})", ""},
      {R"({"resources": {"limits": {"cpu": 4}}})", ""},
      {R"({"command": null})", "spec.setup.command"},
      {R"({"command": []})", "spec.setup.command"},
      {R"({"command": [""]})", "spec.setup.command[0]"},
      {R"({"inputs": ["../x"]})", "below the repository's root"},
      {R"({"inputs": ["a/../x"]})", "below the repository's root"},
      {R"({"inputs": [".git/config"]})", "below the repository's root"},
      {R"({"inputs": ["/etc/passwd"]})", "spec.setup.inputs[0]"},
      {R"({"inputs": ["-x"]})", "spec.setup.inputs[0]"},
      {R"({"inputs": ["a//x"]})", "spec.setup.inputs[0]"},
      {R"({"ref": "-x"})", "spec.setup.ref"},
      {R"({"size": "0"})", "must be a quantity above 0"},
      {R"({"timeout": "10s"})", "must be a duration from 30s to 2h"},
      {R"({"timeout": "3h"})", "must be a duration from 30s to 2h"},
      {R"({"timeout": ""})", "must be a duration from 30s to 2h"},
      {R"({"accessMode": "ReadOnlyMany"})", "spec.setup.accessMode"},
  };
  for (const auto& [change, refusal] : rows)
    expect(change, tried(with(Json::parse(change))), refusal);
  // Once made it stays.
  Json object = with(Json::object());
  object["metadata"]["name"] = "set-up";
  const auto made = client_->create(workspaces(), "default", object);
  ASSERT_TRUE(made) << made.error().text();
  for (const char* patch :
       {R"({"spec": {"setup": {"command": ["evil"]}}})", R"({"spec": {"setup": null}})",
        R"({"spec": {"setup": {"ref": "dev"}}})"}) {
    expect(patch,
           client_->patch(workspaces(), "default", "set-up", PatchType::kMerge, Json::parse(patch)),
           "setup is immutable");
  }
  // All that the operator writes of it is kept.
  const Json status =
      Json::parse(R"({"setup": {"phase": "Ready", "claim": "palisade-setup-x", "commit": "c",
      "inputs": "d", "cached": true, "attempts": 1, "lastFailure": "f", "retryAt": "2026-01-01T00:00:00Z",
      "podUID": "u", "usedAt": "2026-01-01T00:00:00Z"}})");
  const auto written = client_->patch(workspaces(), "default", "set-up", PatchType::kMerge,
                                      {{"status", status}}, "status");
  ASSERT_TRUE(written) << written.error().text();
  EXPECT_EQ((*written)["status"]["setup"], status["setup"]);
}

TEST_F(CrdTest, DefaultsAreFilledIn) {
  Json object = minimal_workspace();
  object["metadata"] = {{"name", "defaults"}, {"namespace", "default"}};
  auto made = client_->create(workspaces(), "default", object);
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_EQ(made->at("spec"), Json({{"agent", {{"resources", Json::object()}}},
                                    {"repository",
                                     {{"url", "https://git.example.com/team/app.git"},
                                      {"ref", "main"},
                                      {"access", "ReadWrite"}}},
                                    {"llm", Json::object()},
                                    {"isolation", {{"exec", Json::object()}}},
                                    {"lifecycle", {{"suspend", false}}}}));
  // What a template may set is left to whoever reads the workspace.
  const auto read = parse_workspace(*made);
  EXPECT_TRUE(read) << read.error();

  object = with("/spec/isolation/egress",
                Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}}})},
                              {"ports", Json::array({{{"port", 1}}})}}}),
                fresh("defaults-2"));
  made = client_->create(workspaces(), "default", object);
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_EQ(made->at("spec").at("repository").at("credentials").at("secretRef"),
            Json({{"name", "app-git-token"}, {"key", "token"}, {"username", "x-access-token"}}));
  EXPECT_EQ(made->at("spec").at("isolation").at("egress")[0].at("ports")[0].at("protocol"), "TCP");
}

TEST_F(CrdTest, WhatIsSettledStaysSettled) {
  auto made = client_->create(workspaces(), "default", fresh("settled"));
  ASSERT_TRUE(made) << made.error().text();
  Json branched = with("/spec/repository/branch", "team/x", fresh("settled-branch"));
  branched["spec"]["repository"]["access"] = "ReadOnly";
  made = client_->create(workspaces(), "default", branched);
  ASSERT_TRUE(made) << made.error().text();
  Json shaped = with("/spec/repository/mount", "ReadOnly", fresh("settled-shape"));
  shaped["spec"]["repository"]["outputDir"] = "a";
  made = client_->create(workspaces(), "default", shaped);
  ASSERT_TRUE(made) << made.error().text();
  const auto repository = [](const Json& change) {
    return Json{{"spec", {{"repository", change}}}};
  };
  struct Row {
    std::string name;
    Json patch;
    std::string refusal;
  };
  const Row rows[] = {
      {"settled", repository({{"url", "https://git.example.com/team/other.git"}}),
       "url is immutable"},
      {"settled", repository({{"branch", "team/y"}}), "branch is immutable"},
      {"settled-branch", repository({{"branch", "team/y"}}), "branch is immutable"},
      {"settled-branch", repository({{"branch", nullptr}}), "branch is immutable"},
      {"settled-branch", repository({{"access", "ReadWrite"}}), "access cannot be widened"},
      {"settled-branch", repository({{"access", nullptr}}), "access cannot be widened"},
      {"settled-branch", repository({{"ref", "team/x"}}), "branch must differ from ref"},
      {"settled", repository({{"ref", "palisade/settled"}}), "which must differ from"},
      {"settled", {{"spec", {{"repository", nullptr}}}}, "spec.repository"},
      {"settled", {{"spec", nullptr}}, "spec"},
      {"settled", repository({{"mount", "GitDirOnly"}}), "mount is immutable"},
      {"settled-shape", repository({{"outputDir", "b"}}), "outputDir is immutable"},
      {"settled-shape", repository({{"outputDir", nullptr}}), "outputDir is immutable"},
      {"settled-shape", repository({{"mount", "ReadWrite"}, {"outputDir", nullptr}}),
       "mount is immutable"},
      {"settled-shape", repository({{"mount", nullptr}}), "mount is immutable"},
      {"settled", repository({{"mount", "ReadWrite"}}), ""},
      {"settled", repository({{"mount", nullptr}}), ""},
      {"settled", repository({{"ref", "dev"}}), ""},
      {"settled", repository({{"credentials", nullptr}}), ""},
      {"settled", repository({{"access", "ReadOnly"}}), ""},
      {"settled", {{"spec", {{"lifecycle", {{"suspend", true}}}}}}, ""},
      {"settled", {{"spec", {{"agent", {{"model", "other"}}}}}}, ""},
  };
  for (const Row& row : rows)
    expect(row.name + " " + row.patch.dump(),
           client_->patch(workspaces(), "default", row.name, PatchType::kMerge, row.patch),
           row.refusal);
}

TEST_F(CrdTest, StatusIsItsOwnSubresource) {
  Json object = fresh("status");
  object["status"] = {{"phase", "Succeeded"}, {"commits", 3}};
  auto made = client_->create(workspaces(), "default", object);
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_FALSE(made->contains("status")) << "an author must not tell how it went";
  const auto patched = client_->patch(workspaces(), "default", "status", PatchType::kMerge,
                                      {{"status", {{"phase", "Succeeded"}}}});
  ASSERT_TRUE(patched) << patched.error().text();
  EXPECT_FALSE(patched->contains("status"));
  const auto write = [&](const Json& status) {
    return client_->patch(workspaces(), "default", "status", PatchType::kMerge,
                          {{"status", status}, {"spec", {{"agent", {{"model", "sneaked"}}}}}},
                          "status");
  };
  expect("a phase", write({{"phase", "Expired"}}), "");
  EXPECT_FALSE(
      client_->get(workspaces(), "default", "status")->at("spec").at("agent").contains("model"));
  expect("no such phase", write({{"phase", "Done"}}), "status.phase");
  expect("a condition without a reason",
         write({{"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}}),
         "status.conditions[0]");
}

TEST_F(CrdTest, FieldsOfLaterVersionsAreNotKept) {
  Json object = fresh("later");
  object["spec"]["lifecycle"]["snapshot"] = "30m";
  object["spec"]["isolation"]["relay"] = {{"mode", "Enforce"}};
  const auto made = client_->create(workspaces(), "default", object);
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_FALSE(made->at("spec").at("lifecycle").contains("snapshot"));
  EXPECT_FALSE(made->at("spec").at("isolation").contains("relay"));
}

void find_undescribed(const Json& schema, const std::string& path, std::set<std::string>& out,
                      int& fields) {
  const Json properties = schema.value("properties", Json::object());
  for (const auto& [name, field] : properties.items()) {
    const std::string at = path + "." + name;
    if (path.empty() && (name == "apiVersion" || name == "kind" || name == "metadata"))
      continue;  // the API server describes them
    ++fields;
    if (field.value("description", "").size() < 5) out.insert(at);
    find_undescribed(field, at, out, fields);
  }
  if (schema.contains("items")) find_undescribed(schema["items"], path + "[]", out, fields);
}

TEST_F(CrdTest, EveryFieldIsExplained) {
  const auto crd =
      client_->get(kube::resources::kCustomResourceDefinitions, "", "agentworkspaces.palisade.dev");
  ASSERT_TRUE(crd) << crd.error().text();
  std::set<std::string> undescribed;
  int fields = 0;
  for (const Json& version : crd->at("spec").at("versions"))
    find_undescribed(version.at("schema").at("openAPIV3Schema"), "", undescribed, fields);
  EXPECT_GT(fields, 50);
  EXPECT_EQ(undescribed, std::set<std::string>{});
}

}  // namespace
}  // namespace palisade::op::testing
