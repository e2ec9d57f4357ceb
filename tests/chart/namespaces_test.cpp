// An install that keeps to given namespaces (watchNamespaces): the same rights there, by Roles, and
// none on anything of other namespaces.
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chart/chart.h"

namespace palisade::chart::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// One verb on one resource, such as "get /pods" or "list palisade.dev/agentpolicies", with the name
// of the one object where it is limited to that.
using Rights = std::set<std::string>;

Rights rights_of(const json& role) {
  Rights out;
  for (const json& rule : role.at("rules")) {
    auto names = strings_of(rule, "resourceNames");
    if (names.empty()) names.emplace();
    for (const std::string& group : strings_of(rule, "apiGroups")) {
      for (const std::string& resource : strings_of(rule, "resources")) {
        for (const std::string& verb : strings_of(rule, "verbs")) {
          for (const std::string& name : names)
            out.insert(verb + " " + group + "/" + resource + (name.empty() ? "" : " " + name));
        }
      }
    }
  }
  return out;
}

// What an account may do: by namespace, "" for everywhere.
std::map<std::string, Rights> rights_of(const std::vector<json>& all, const std::string& account) {
  std::map<std::string, Rights> out;
  for (const json& binding : all) {
    const std::string kind = binding.at("kind");
    if (kind != "RoleBinding" && kind != "ClusterRoleBinding") continue;
    if (binding["subjects"][0]["name"] != account) continue;
    const std::string ns = binding["metadata"].value("namespace", "");
    for (const json& role : all) {
      if (role.at("kind") != binding["roleRef"]["kind"] ||
          role["metadata"]["name"] != binding["roleRef"]["name"] ||
          role["metadata"].value("namespace", "") != (role["kind"] == "Role" ? ns : ""))
        continue;
      out[ns].merge(rights_of(role));
    }
  }
  return out;
}

const Strings kTwo{R"(watchNamespaces=["team-a", "team-b"])"};

TEST(ChartNamespaces, NoneGivenIsAllOfThemAsBefore) {
  EXPECT_EQ(render({"watchNamespaces=[]"}).out, render().out);
  EXPECT_THAT(render().out, Not(HasSubstr("--watch-namespaces")));
}

TEST(ChartNamespaces, EverywhereThereIsNoRightOnAnythingThatIsInANamespace) {
  const auto all = objects(kTwo);
  const Rights policies{"get palisade.dev/agentpolicies", "list palisade.dev/agentpolicies",
                        "watch palisade.dev/agentpolicies"};
  EXPECT_EQ(rights_of(all, "palisade-operator")[""], policies);
  // Whose a token is, no Role can let anybody ask.
  Rights gateway = policies;
  gateway.insert("create authentication.k8s.io/tokenreviews");
  EXPECT_EQ(rights_of(all, "palisade-gateway")[""], gateway);
}

TEST(ChartNamespaces, InEachOfThemTheRightsAreThoseOfTheClusterRole) {
  const auto wide = objects();
  const auto narrow = objects(kTwo);
  for (const std::string account : {"palisade-operator", "palisade-gateway"}) {
    Rights before = rights_of(wide, account)[""];
    ASSERT_GT(before.size(), 8U);
    // The namespace that a Role is in can be read, and no more.
    EXPECT_EQ(before.erase("list /namespaces") + before.erase("watch /namespaces"), 2U);
    auto now = rights_of(narrow, account);
    for (const char* ns : {"team-a", "team-b"}) {
      Rights there = now[ns];
      EXPECT_TRUE(there.contains("get /namespaces")) << account;
      for (const std::string& right : there)
        EXPECT_FALSE(now[""].contains(right)) << account << ": " << right << " twice";
      there.insert(now[""].begin(), now[""].end());
      EXPECT_EQ(there, before) << account << " in " << ns;
    }
  }
}

TEST(ChartNamespaces, ElsewhereTheyReadWhatIsNamed) {
  auto now = rights_of(objects({kTwo[0], R"(operator={"serviceNamespaces": ["git"]})",
                                R"(llmGateways=[{"name": "default", "url": "palisade"},
                   {"name": "a", "url": "http://llm.llm.svc:8080/v1"},
                   {"name": "b", "url": "https://llm.models.svc.cluster.local/v1"},
                   {"name": "c", "url": "https://svc.example.com/v1"},
                   {"name": "d", "url": "https://192.0.2.1:8443/v1"}])"}),
                       "palisade-operator");
  auto before = rights_of(objects(), "palisade-operator");
  for (const char* ns : {"", "team-a", "team-b"})
    EXPECT_EQ(now.erase(ns), 1U);
  EXPECT_EQ(now["palisade-system"], before["palisade-system"]);
  Rights addresses = before["default"];
  addresses.insert("get /services kubernetes");
  EXPECT_EQ(now["default"], addresses);
  EXPECT_EQ(now["kube-system"], Rights{"get /services kube-dns"});
  EXPECT_EQ(now["palisade-gateway"],
            (Rights{"list /secrets", "get /secrets", "create /secrets", "patch /secrets",
                    "delete /secrets", "get /services palisade-gateway",
                    "get /configmaps palisade-gateway-ca"}));
  for (const char* ns : {"git", "llm", "models"})
    EXPECT_EQ(now[ns], Rights{"get /services"}) << ns;
  EXPECT_EQ(now.size(), 7U);

  auto gateway = rights_of(objects(kTwo), "palisade-gateway");
  EXPECT_EQ(gateway["palisade-gateway"],
            rights_of(objects(), "palisade-gateway")["palisade-gateway"]);
  EXPECT_EQ(gateway.size(), 4U);
}

TEST(ChartNamespaces, TheProgramsAreToldAndSessionsOfNoOtherReachTheGateway) {
  const auto all = objects(kTwo);
  for (const char* program : {"palisade-operator", "palisade-gateway"}) {
    const json args =
        named(all, "Deployment", program)["spec"]["template"]["spec"]["containers"][0]["args"];
    EXPECT_THAT(args, Contains("--watch-namespaces=team-a,team-b")) << program;
  }
  const json from =
      named(all, "NetworkPolicy", "palisade-gateway")["spec"]["ingress"][0]["from"][0];
  EXPECT_EQ(from["namespaceSelector"]["matchExpressions"],
            json::array({{{"key", "kubernetes.io/metadata.name"},
                          {"operator", "In"},
                          {"values", {"team-a", "team-b"}}}}));
  EXPECT_EQ(from["podSelector"]["matchLabels"], (json{{"palisade.dev/agent", "aider"}}));
}

// The guard is the whole cluster's: what nobody watches is judged all the same.
TEST(ChartNamespaces, TheGuardIsTheSame) {
  const auto wide = objects();
  const auto narrow = objects(kTwo);
  int seen = 0;
  for (const json& object : narrow) {
    const std::string kind = object.at("kind");
    if (name_of(object) != "palisade-webhook" && !kind.starts_with("Validating") &&
        !kind.starts_with("Mutating"))
      continue;
    EXPECT_THAT(wide, Contains(object)) << kind << " " << name_of(object);
    ++seen;
  }
  EXPECT_GT(seen, 10);
}

TEST(ChartNamespaces, WithoutTheGatewayNothingSpeaksOfIt) {
  const Outcome rendered =
      render({kTwo[0], R"(gateway={"enabled": false})",
              R"(llmGateways=[{"name": "default", "url": "http://llm.llm.svc/v1"}])"});
  ASSERT_EQ(rendered.code, 0) << rendered.err;
  EXPECT_THAT(rendered.out, Not(HasSubstr("palisade-gateway")));
}

// Nothing would guard an agent there.
TEST(ChartNamespaces, OneThatIsNotJudgedOrHoldsKeysIsRefused) {
  const struct {
    Strings values;
    const char* why;
  } cases[] = {
      {{R"(watchNamespaces=["team-a", "palisade-system"])"},
       "watchNamespaces: the webhook does not judge pods in namespace palisade-system"},
      {{R"(watchNamespaces=["kube-system"])"}, "does not judge pods in namespace kube-system"},
      {{R"(watchNamespaces=["storage"])", R"(webhook={"exemptNamespaces": ["storage"]})"},
       "does not judge pods in namespace storage"},
      {{R"(watchNamespaces=["palisade-gateway"])"},
       "watchNamespaces: namespace palisade-gateway is the gateway's"},
  };
  for (const auto& c : cases) {
    const Outcome rendered = render(c.values);
    EXPECT_NE(rendered.code, 0) << c.why;
    EXPECT_THAT(rendered.err, HasSubstr(c.why));
  }
}

}  // namespace
}  // namespace palisade::chart::testing
