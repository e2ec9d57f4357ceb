// Sessions through Palisade's own gateway, against a real API server with the chart's rights: what
// lies in the gateway's namespace comes and goes with them.
#include <gmock/gmock.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;

class GatewayTest : public ControllerTest {
 protected:
  // The session's Secret in the gateway's namespace, or null.
  [[nodiscard]] static Json held(const std::string& uid) {
    auto found = admin_->get(kSecrets, "palisade-gateway", "git-" + uid);
    if (!found && found.error().is_not_found()) return nullptr;
    if (!found) throw std::runtime_error(found.error().text());
    return std::move(*found);
  }
  static void authorities(const Json& pem) {
    const auto done = admin_->patch(kConfigMaps, "palisade-gateway", "palisade-gateway-ca",
                                    kube::PatchType::kMerge, {{"data", {{"ca.crt", pem}}}});
    if (!done) throw std::runtime_error(done.error().text());
  }
};

TEST_F(GatewayTest, ItsTokenLivesInTheGatewaysNamespaceAsLongAsItRuns) {
  make_secret();
  const std::string uid = make(through_gateway())["metadata"]["uid"];
  const Json pod = await_pod();
  EXPECT_EQ(container(pod, "relay")["command"][0], "/usr/local/bin/palisade-relay");
  await_condition("CredentialsReady", "True", "Copied");
  ASSERT_FALSE(held(uid).is_null());
  EXPECT_EQ(held(uid)["data"]["token"], "dG9rZW4tMQ==");
  EXPECT_EQ(held(uid)["metadata"]["annotations"]["palisade.dev/workspace"], ns_ + "/fix-login");
  EXPECT_TRUE(find(kSecrets, "fix-login-git").is_null());
  EXPECT_EQ(find(kNetworkPolicies, "fix-login-agent")["spec"]["egress"].size(), 1U);
  EXPECT_EQ(find(kConfigMaps, "fix-login-agent")["data"]["gateway-ca.pem"], gateway().authorities);

  patch(kSecrets, "app-git-token", {{"stringData", {{"token", "token-2"}}}});
  nudge();
  eventually("the new token", [&] { return held(uid)["data"]["token"] == "dG9rZW4tMg=="; });
  patch(workspaces(), "fix-login", {{"spec", {{"lifecycle", {{"suspend", true}}}}}});
  eventually("pod and token gone", [&] { return held(uid).is_null() && this->pod().is_null(); });
  patch(workspaces(), "fix-login", {{"spec", {{"lifecycle", {{"suspend", false}}}}}});
  await_pod();
  eventually("the token again", [&] { return !held(uid).is_null(); });
  remove(workspaces(), "fix-login");
  eventually("the workspace is gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  EXPECT_TRUE(held(uid).is_null());
}

TEST_F(GatewayTest, ItsAuthoritiesRotateUnderALivePod) {
  make_secret();
  make(through_gateway());
  const std::string uid = await_pod()["metadata"]["uid"];
  run();
  const std::string both = gateway().authorities + "-----BEGIN CERTIFICATE-----\ntwo\n";
  authorities(both);
  eventually("they are in the session's ConfigMap", [&] {
    nudge();
    return find(kConfigMaps, "fix-login-agent")["data"]["gateway-ca.pem"] == both;
  });
  EXPECT_EQ(pod()["metadata"]["uid"], uid);
  EXPECT_FALSE(pod()["metadata"].contains("deletionTimestamp"));
  authorities(gateway().authorities);
}

TEST_F(GatewayTest, AnotherGatewaysKeyIsCopiedForTheRelay) {
  make_secret();
  Json keyed = workspace();
  keyed["spec"]["llm"]["keySecretRef"] = {{"name", "virtual-key"}};
  make(keyed);
  await_condition("CredentialsReady", "False", "SecretNotFound");
  make(kSecrets, {{"apiVersion", "v1"},
                  {"kind", "Secret"},
                  {"metadata", {{"name", "virtual-key"}}},
                  {"stringData", {{"api-key", "sk-1"}}}});
  nudge();
  const Json pod = await_pod();
  EXPECT_EQ(find(kSecrets, "fix-login-llm")["data"]["key"], "c2stMQ==");
  EXPECT_EQ(named(pod["spec"]["volumes"], "llm-key")["secret"]["secretName"], "fix-login-llm");
}

TEST_F(GatewayTest, NoSessionRunsInItsNamespace) {
  Json there = through_gateway("intruder");
  there["metadata"]["namespace"] = "palisade-gateway";
  const auto made = admin_->create(workspaces(), "palisade-gateway", there);
  ASSERT_TRUE(made) << made.error().text();
  Json last;
  eventually("it is refused", [&] {
    const auto seen = admin_->get(workspaces(), "palisade-gateway", "intruder");
    last = seen ? seen->value("status", Json::object()) : Json::object();
    return last.dump().find("NamespaceReserved") != std::string::npos;
  });
  EXPECT_TRUE(admin_->remove(workspaces(), "palisade-gateway", "intruder"));
}

}  // namespace
}  // namespace palisade::op::testing
