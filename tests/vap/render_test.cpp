// What `palisade render vap` prints, without an API server.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <render.h>
#include <yaml_json.h>

#include <cli/cli.h>
#include <policy/vap.h>

namespace palisade::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

struct Ran {
  int status = -1;
  std::string out;
  std::string err;
};

Ran run_palisade(std::vector<std::string> arguments, const std::string& input = {}) {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  Ran ran;
  ran.status = run(std::move(arguments), in, out, err);
  ran.out = out.str();
  ran.err = err.str();
  return ran;
}

std::vector<json> objects_of(const std::string& yaml) {
  std::vector<json> out;
  const auto documents = read_yaml(yaml);
  EXPECT_TRUE(documents) << documents.error().message;
  if (!documents) return out;
  for (const Document& document : *documents)
    out.push_back(json::parse(document.json));
  return out;
}

TEST(RenderVap, PrintsPoliciesAndABindingForEachMode) {
  const Ran ran = run_palisade({"render", "vap"});
  ASSERT_EQ(ran.status, kCompliant) << ran.err;
  const auto objects = objects_of(ran.out);
  ASSERT_EQ(objects.size(), 16U);
  std::set<std::string> names;
  for (const json& object : objects) {
    EXPECT_EQ(object.at("apiVersion"), "admissionregistration.k8s.io/v1");
    names.insert(object.at("metadata").at("name"));
  }
  for (const char* name : {"palisade-pods", "palisade-workloads", "palisade-cronjobs",
                           "palisade-podtemplates", "palisade-pods-enforce", "palisade-pods-warn",
                           "palisade-pods-audit", "palisade-cronjobs-audit"})
    EXPECT_TRUE(names.contains(name)) << name;
  const json& pods = objects[0];
  EXPECT_EQ(pods.at("spec").at("failurePolicy"), "Fail");
  EXPECT_EQ(pods.at("spec").at("matchConstraints").at("matchPolicy"), "Equivalent");
  EXPECT_FALSE(pods.at("spec").at("matchConstraints").contains("objectSelector"));
  EXPECT_FALSE(pods.at("spec").at("matchConstraints").contains("namespaceSelector"));
  EXPECT_EQ(pods.at("spec").at("matchConstraints").at("resourceRules").at(1).at("resources"),
            (json{"pods/ephemeralcontainers", "pods/resize"}));
  for (std::size_t i = 1; i < 4; ++i)
    EXPECT_EQ(objects[i].at("spec").at("failurePolicy"), "Ignore");
  for (const json& object : objects) {
    if (object.at("kind") != "ValidatingAdmissionPolicyBinding") continue;
    const json& selector = object.at("spec").at("matchResources").at("namespaceSelector");
    EXPECT_EQ(selector.at("matchExpressions").at(0).at("key"), "palisade.dev/mode");
    const json& actions = object.at("spec").at("validationActions");
    const std::string name = object.at("metadata").at("name");
    EXPECT_EQ(actions, name.ends_with("-enforce") ? json({"Deny", "Audit"})
                       : name.ends_with("-warn")  ? json({"Warn", "Audit"})
                                                  : json::array({"Audit"}));
  }
  // What it does not keep is said where it is read.
  for (const char* text :
       {"HardeningExceptions", "AgentPolicies", "control.palisade.dev/", "deny-all-network"}) {
    EXPECT_THAT(ran.out.substr(0, ran.out.find("---")), HasSubstr(text));
    EXPECT_THAT(run_palisade({"render", "vap", "--help"}).out, HasSubstr(text));
  }
}

TEST(RenderVap, EveryControlThatNeedsNoClusterHasATwin) {
  for (const policy::Control& control : policy::controls())
    EXPECT_EQ(control.cel == nullptr, control.needs_cluster) << control.id;
  for (const policy::CelPolicy& policy : policy::cel_policies({})) {
    std::set<std::string> names;
    for (const policy::CelVariable& variable : policy.variables) {
      EXPECT_TRUE(names.insert(variable.name).second) << variable.name;
      EXPECT_LT(variable.expression.size(), 60'000U) << variable.name << ": the API server's limit";
    }
    for (const policy::Control& control : policy::controls())
      EXPECT_EQ(names.contains(policy::cel_variable(control)), !control.needs_cluster)
          << control.id;
  }
}

TEST(RenderVap, TakesSettingsNamesAndExemptions) {
  const Ran ran = run_palisade(
      {"render", "vap", "--settings", "-", "--name-prefix", "team.guard", "--exempt-namespace",
       "kube-system", "--exempt-namespace", "infra", "-o", "json"},
      R"({"maxLifetimeSeconds": 4321, "allowedRegistries": ["it's.example.com"]})");
  ASSERT_EQ(ran.status, kCompliant) << ran.err;
  const json list = json::parse(ran.out);
  ASSERT_EQ(list.at("items").size(), 16U);
  const json& pods = list.at("items").at(0);
  EXPECT_EQ(pods.at("metadata").at("name"), "team.guard-pods");
  EXPECT_EQ(pods.at("spec").at("matchConditions").at(0).at("expression"),
            R"(!(request.namespace in ["kube-system","infra"]))");
  EXPECT_THAT(ran.out, HasSubstr("4321"));
  EXPECT_THAT(ran.out, HasSubstr(R"('it\\'s.example.com/')"));
}

TEST(RenderVap, RefusesWhatItCannotRender) {
  EXPECT_EQ(run_palisade({"render"}).status, kUnreadable);
  EXPECT_EQ(run_palisade({"render", "vap", "--name-prefix", "Not A Name"}).status, kUnreadable);
  EXPECT_EQ(run_palisade({"render", "vap", "--exempt-namespace", "a\"]) || true"}).status,
            kUnreadable);
  const Ran ran = run_palisade({"render", "vap", "--settings", "-"}, R"({"maxLifetime": 1})");
  EXPECT_EQ(ran.status, kUnreadable);
  EXPECT_THAT(ran.err, HasSubstr("maxLifetime"));
}

}  // namespace
}  // namespace palisade::cli
