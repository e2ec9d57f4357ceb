// The operator's program as the chart installs it with watchNamespaces, on a real API server: with
// the arguments and the Roles that Helm renders, and no other right.
#include <csignal>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/base64.h>
#include <kube/envtest.h>
#include <kube/transport.h>
#include <operator/gather.h>

#include "chart/rights.h"
#include "definitions.h"
#include "free_port.h"
#include "operator/fixture.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using chart::testing::Process;
using chart::testing::Strings;
using courier::testing::eventually;
using kube::Client;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kOwn = "palisade-system";
// As kube::Error::text() has it; a UID or a time of day may hold the number, too.
constexpr const char* kRefused = "[^0-9A-Za-z.-]403 |[Ff]orbidden";
constexpr const char* kGateway = "palisade-gateway";
// One that runs in Palisade's own gateway, and one in a Service of the cluster.
constexpr const char* kGateways =
    R"(llmGateways=[{"name": "default", "url": "palisade"},
                    {"name": "inside", "url": "http://llm.llm.svc:8080/v1"}])";

template <class T>
T must(kube::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  return std::move(*result);
}

Json object(const kube::Resource& resource, const std::string& name, Json rest = Json::object()) {
  rest["apiVersion"] = resource.api_version();
  rest["kind"] = resource.kind;
  rest["metadata"]["name"] = name;
  return rest;
}

// The program with what `rendered` says, but for its files and its port.
class Program {
 public:
  Program(const std::vector<Json>& rendered, const kube::EnvTest& env, const Client& admin) {
    const auto write = [&](const char* name, const std::string& text) {
      courier::testing::write_file(directory_.path() / name, text);
      return (directory_.path() / name).string();
    };
    const std::string token = chart::testing::token_of(admin, kOwn, "palisade-operator");
    const Json config{
        {"apiVersion", "v1"},
        {"kind", "Config"},
        {"current-context", "it"},
        {"clusters", Json::array({{{"name", "it"},
                                   {"cluster",
                                    {{"server", env.config().server},
                                     {"certificate-authority-data",
                                      kube::encode_base64(env.config().tls_material().ca)}}}}})},
        {"users", Json::array({{{"name", "it"}, {"user", {{"token", token}}}}})},
        {"contexts",
         Json::array({{{"name", "it"}, {"context", {{"cluster", "it"}, {"user", "it"}}}}})}};
    Strings arguments{program(), "--kubeconfig=" + write("kubeconfig", config.dump()),
                      "--metrics-address=127.0.0.1", "--metrics-port=" + std::to_string(port_)};
    const Json settings = chart::testing::named(rendered, "ConfigMap", "palisade-config");
    const Json deployment = chart::testing::named(rendered, "Deployment", "palisade-operator");
    for (const Json& one : deployment["spec"]["template"]["spec"]["containers"][0]["args"]) {
      std::string argument = one;
      if (argument.starts_with("--policy="))
        argument = "--policy=" + write("policy.json", settings["data"]["policy.json"]);
      arguments.push_back(argument);
    }
    Process::Options options;
    options.out = options.err = directory_.path() / "log";
    process_ = std::make_unique<Process>(arguments, options);
  }

  static std::string program() {
    return std::filesystem::canonical("/proc/self/exe").parent_path() / "palisade-operator";
  }
  [[nodiscard]] std::string log() const {
    return courier::testing::read_file(directory_.path() / "log");
  }
  // Its answer to /readyz; 0 where it does not answer yet.
  [[nodiscard]] kube::Response readiness() const {
    kube::TransportOptions options;
    options.base_url = "http://127.0.0.1:" + std::to_string(port_);
    kube::Request request;
    request.target = "/readyz";
    auto answer = kube::make_beast_transport(options)->send(request, {});
    return answer ? std::move(*answer) : kube::Response{};
  }
  // Its exit code; -1 where it does not end.
  int end() {
    process_->signal(SIGTERM);
    return process_->wait(std::chrono::seconds(30)) ? process_->code() : -1;
  }

 private:
  const courier::testing::Directory directory_;
  const std::uint16_t port_ = free_port();
  std::unique_ptr<Process> process_;
};

class Namespaced : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    kube::EnvTestOptions options;
    // blockOwnerDeletion needs a right of its own where clusters check it.
    options.apiserver_flags = {"--enable-admission-plugins=OwnerReferencesPermissionEnforcement"};
    env_ = must(kube::EnvTest::start(options));
    const auto installed = install_definitions(
        *env_,
        {"agentworkspaces", "agentpolicies", "agentworkspacetemplates", "agentworkspacepools"});
    ASSERT_TRUE(installed) << installed.error().text();
    admin_ = Client::connect(env_->config(), Client::TransportKind::kBeast);
    for (const char* ns : {kOwn, kGateway, "llm", "outside"})
      make_namespace(ns);
    const auto service = [](const char* ns, const char* name, int port) {
      must(admin_->create(
          kServices, ns,
          object(kServices, name,
                 {{"spec",
                   {{"selector", {{"app", name}}}, {"ports", Json::array({{{"port", port}}})}}}})));
    };
    service("llm", "llm", 8080);
    service(kGateway, "palisade-gateway", 8443);
    must(admin_->create(kConfigMaps, kGateway,
                        object(kConfigMaps, "palisade-gateway-ca",
                               {{"data", {{"ca.crt", gateway().authorities}}}})));
  }
  static void TearDownTestSuite() {
    admin_.reset();
    env_.reset();
  }
  void TearDown() override {
    if (HasFailure() && program_) std::printf("%s\n", program_->log().c_str());
  }

  static void make_namespace(const std::string& ns) {
    must(admin_->create(kNamespaces, "", object(kNamespaces, ns)));
  }
  static std::vector<Json> rendered(const std::string& watched) {
    return chart::testing::objects({"watchNamespaces=" + watched, kGateways});
  }
  void begin(const std::vector<Json>& all) {
    program_ = std::make_unique<Program>(all, *env_, *admin_);
  }
  // A workspace with its git token in a Secret. Its UID.
  static std::string make(const std::string& ns, const std::string& name,
                          const Json& spec = Json::object()) {
    const auto secret = admin_->create(
        kSecrets, ns, object(kSecrets, "app-git-token", {{"stringData", {{"token", "token-1"}}}}));
    if (!secret && !secret.error().is_already_exists())
      throw std::runtime_error(secret.error().text());
    Json workspace = usual_workspace();
    workspace["metadata"] = {{"name", name}, {"namespace", ns}};
    workspace["spec"]["repository"]["url"] = "https://192.0.2.10/team/app.git";
    workspace["spec"].merge_patch(spec);
    return must(admin_->create(workspaces(), ns, workspace))["metadata"]["uid"];
  }
  // null where there is none.
  static Json find(const kube::Resource& resource, const std::string& ns, const std::string& name) {
    auto found = admin_->get(resource, ns, name);
    if (!found && found.error().is_not_found()) return nullptr;
    return must(std::move(found));
  }
  static bool runs(const std::string& ns, const std::string& name) {
    const Json pod = find(kPods, ns, name + "-agent");
    return !pod.is_null() && !pod["spec"].contains("schedulingGates");
  }
  static std::string accepted(const std::string& ns, const std::string& name) {
    const Json workspace = find(workspaces(), ns, name);
    const Json conditions =
        workspace.value("status", Json::object()).value("conditions", Json::array());
    for (const Json& condition : conditions) {
      if (condition["type"] == "Accepted") return condition["reason"];
    }
    return {};
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<const Client> admin_;
  std::unique_ptr<Program> program_;
};

TEST_F(Namespaced, AWholeLifeTakesNoRightBeyondItsRolesAndOthersAreLeftAlone) {
  make_namespace("team-a");
  make_namespace("team-b");
  const auto all = rendered(R"(["team-a", "team-b"])");
  ASSERT_TRUE(chart::testing::grant(*admin_, all, "palisade-operator").empty());
  const auto account =
      Client::connect(chart::testing::as_account(*env_, *admin_, kOwn, "palisade-operator"),
                      Client::TransportKind::kBeast);
  for (const char* ns : {"", "outside"}) {
    kube::ListOptions list;
    list.ns = ns;
    const auto pods = account->list(kPods, list);
    ASSERT_FALSE(pods);
    ASSERT_TRUE(pods.error().is_forbidden()) << pods.error().text();
  }
  // Git tokens of workspaces whose finalizer was taken away by force.
  const auto left_over = [](const std::string& name, const std::string& workspace) {
    must(admin_->create(kSecrets, kGateway,
                        object(kSecrets, name,
                               {{"metadata",
                                 {{"labels", {{kGitTokenLabel, "true"}}},
                                  {"annotations", {{kWorkspaceLabel, workspace}}}}},
                                {"stringData", {{"token", "left over"}}}})));
  };
  left_over("git-of-team-a", "team-a/gone");
  left_over("git-of-outside", "outside/gone");

  make("outside", "untouched");
  const std::string uid = make("team-a", "fix-login");
  make("team-b", "inside",
       {{"llm", {{"gateway", "inside"}}},
        {"repository", {{"via", "Direct"}}},
        {"storage", {{"size", "1Gi"}}}});
  make("team-a", "tokenless",
       {{"repository", {{"credentials", {{"secretRef", {{"name", "nobodys"}}}}}}}});
  begin(all);
  EXPECT_TRUE(eventually([&] { return program_->readiness().status == 200; }))
      << program_->readiness().body;
  EXPECT_TRUE(eventually([] { return runs("team-a", "fix-login"); }))
      << accepted("team-a", "fix-login");
  EXPECT_TRUE(eventually([] { return runs("team-b", "inside"); })) << accepted("team-b", "inside");
  EXPECT_FALSE(find(kSecrets, kGateway, "git-" + uid).is_null());
  EXPECT_FALSE(find(volume_claims(), "team-b", "inside-workspace").is_null());
  kube::ListOptions told;  // that there is no such Secret
  told.ns = "team-a";
  EXPECT_TRUE(eventually([&] { return !must(admin_->list(kEvents, told)).items.empty(); }));
  EXPECT_TRUE(eventually([] { return find(kSecrets, kGateway, "git-of-team-a").is_null(); }));

  const auto deleted = admin_->remove(workspaces(), "team-a", "fix-login");
  ASSERT_TRUE(deleted) << deleted.error().text();
  EXPECT_TRUE(eventually([] { return find(workspaces(), "team-a", "fix-login").is_null(); }));
  EXPECT_TRUE(find(kPods, "team-a", "fix-login-agent").is_null());
  EXPECT_TRUE(find(kSecrets, kGateway, "git-" + uid).is_null());

  const Json untouched = find(workspaces(), "outside", "untouched");
  EXPECT_FALSE(untouched["metadata"].contains("finalizers")) << untouched;
  EXPECT_FALSE(untouched.contains("status")) << untouched;
  EXPECT_TRUE(find(kPods, "outside", "untouched-agent").is_null());
  EXPECT_FALSE(find(kSecrets, kGateway, "git-of-outside").is_null());
  EXPECT_EQ(program_->end(), 0);
  const std::string log = program_->log();
  EXPECT_THAT(log, HasSubstr("for namespaces team-a, team-b"));
  EXPECT_THAT(log, Not(ContainsRegex(kRefused)));
}

// The namespace's labels are read by turns, but no session starts by ones that are older than that.
TEST_F(Namespaced, AnAgentPolicyBindsFromTheFirstLookOn) {
  make_namespace("bound");
  const auto all = rendered(R"(["bound"])");
  ASSERT_TRUE(chart::testing::grant(*admin_, all, "palisade-operator").empty());
  must(admin_->create(agent_policies(), "",
                      object(agent_policies(), "narrow",
                             {{"spec",
                               {{"namespaceSelector", {{"matchLabels", {{"bound", "yes"}}}}},
                                {"permissions", {{"agent", {"filesystem.rw"}}}}}}})));
  begin(all);
  ASSERT_TRUE(eventually([&] { return program_->readiness().status == 200; }))
      << program_->readiness().body;
  const auto label = [](const Json& value) {
    must(admin_->patch(kNamespaces, "", "bound", kube::PatchType::kMerge,
                       {{"metadata", {{"labels", {{"bound", value}}}}}}));
  };
  label("yes");
  make("bound", "fix-login",
       {{"llm", {{"gateway", "inside"}}}, {"repository", {{"via", "Direct"}}}});
  EXPECT_TRUE(eventually([] { return accepted("bound", "fix-login") == "ExceedsPermissions"; }))
      << accepted("bound", "fix-login");
  EXPECT_TRUE(find(kPods, "bound", "fix-login-agent").is_null());
  // Nobody tells of the label: what was refused is looked at again after a minute.
  constexpr std::chrono::minutes kLooked{3};
  label(nullptr);
  EXPECT_TRUE(eventually([] { return runs("bound", "fix-login"); }, kLooked))
      << accepted("bound", "fix-login");
  // A session that is there already says so by itself.
  label("yes");
  EXPECT_TRUE(
      eventually([] { return accepted("bound", "fix-login") == "ExceedsPermissions"; }, kLooked))
      << accepted("bound", "fix-login");
  EXPECT_TRUE(runs("bound", "fix-login"));
  EXPECT_EQ(program_->end(), 0);
  EXPECT_THAT(program_->log(), Not(ContainsRegex(kRefused)));
}

TEST_F(Namespaced, OneThatIsNotThereYetIsNamedAndHoldsUpNoOther) {
  make_namespace("early");
  const auto all = rendered(R"(["early", "later"])");
  EXPECT_EQ(chart::testing::grant(*admin_, all, "palisade-operator"),
            std::set<std::string>{"later"});
  make("early", "fix-login");
  begin(all);
  EXPECT_TRUE(eventually([] { return runs("early", "fix-login"); }))
      << accepted("early", "fix-login");
  const kube::Response waits = program_->readiness();
  EXPECT_EQ(waits.status, 503);
  EXPECT_THAT(waits.body, HasSubstr("namespace later: 403 Forbidden: "));
  EXPECT_THAT(waits.body, HasSubstr("either there is no namespace later, or no RoleBinding in it"));
  EXPECT_THAT(waits.body, Not(HasSubstr("namespace early")));
  EXPECT_THAT(program_->log(), HasSubstr("namespace later: 403 Forbidden: "));

  make_namespace("later");
  EXPECT_TRUE(chart::testing::grant(*admin_, all, "palisade-operator").empty());
  make("later", "fix-login");
  EXPECT_TRUE(eventually([] { return runs("later", "fix-login"); }, std::chrono::seconds(120)))
      << accepted("later", "fix-login");
  EXPECT_TRUE(eventually([&] { return program_->readiness().status == 200; }))
      << program_->readiness().body;
  EXPECT_EQ(program_->end(), 0);
}

// Only a Service that the chart was told of is looked up.
TEST_F(Namespaced, AServiceThatItMayNotReadIsToldInTheWorkspace) {
  make_namespace("asks");
  const auto all = rendered(R"(["asks"])");
  ASSERT_TRUE(chart::testing::grant(*admin_, all, "palisade-operator").empty());
  make("asks", "fix-login",
       {{"repository", {{"via", "Direct"}, {"url", "https://git.outside.svc/team/app.git"}}}});
  begin(all);
  EXPECT_TRUE(eventually([] { return accepted("asks", "fix-login") == "EndpointForbidden"; }))
      << accepted("asks", "fix-login");
  const Json workspace = find(workspaces(), "asks", "fix-login");
  EXPECT_THAT(workspace["status"].dump(), HasSubstr("operator.serviceNamespaces"));
  EXPECT_EQ(program_->end(), 0);
}

TEST(NamespacedFlag, AnEmptyOrImpossibleNameIsRefusedAndNeverMeansAll) {
  const std::map<std::string, std::string> wrong{{",", "\"\" is no namespace"},
                                                 {"a,", "\"\" is no namespace"},
                                                 {",a", "\"\" is no namespace"},
                                                 {"[]", "\"[]\" is no namespace"},
                                                 {"Team_A", "\"Team_A\" is no namespace"},
                                                 {"a,-b", "\"-b\" is no namespace"},
                                                 {"", "--watch-namespaces"}};
  for (const auto& [value, why] : wrong) {
    const auto ended =
        chart::testing::run({Program::program(), "--agent-image=a", "--courier-image=c",
                             "--llm-gateway=default=https://192.0.2.1/v1",
                             "--watch-namespaces=" + value, "--kubeconfig=/nowhere"});
    EXPECT_NE(ended.code, 0) << value;
    EXPECT_THAT(ended.err, HasSubstr(why)) << value;
    EXPECT_THAT(ended.err, HasSubstr("--watch-namespaces")) << value;
  }
}

}  // namespace
}  // namespace palisade::op::testing
