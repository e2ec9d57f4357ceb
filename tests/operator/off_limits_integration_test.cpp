// What guard must try before it starts an agent, read of a real API server with the chart's rights.
#include <algorithm>

#include <gmock/gmock.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;

class OffLimits : public ControllerTest {
 protected:
  // The cluster's DNS must be there before the first workspace: targets are read once a minute.
  static void SetUpTestSuite() {
    ControllerTest::SetUpTestSuite();
    const auto made = admin_->create(
        kServices, "kube-system",
        {{"apiVersion", "v1"},
         {"kind", "Service"},
         {"metadata", {{"name", "kube-dns"}}},
         {"spec",
          {{"selector", {{"k8s-app", "kube-dns"}}},
           {"ports", Json::array({{{"name", "dns"}, {"port", 53}, {"protocol", "UDP"}},
                                  {{"name", "dns-tcp"}, {"port", 53}, {"protocol", "TCP"}}})}}}});
    ASSERT_TRUE(made) << made.error().text();
    // As the endpoint slice controller writes it of the chart's Service.
    const Json gone{{"addresses", {"10.244.0.6"}}, {"conditions", {{"ready", false}}}};
    const Json ready{{"addresses", {"10.244.0.7"}}, {"conditions", {{"ready", true}}}};
    const auto slice =
        admin_->create(kEndpointSlices, "palisade-system",
                       {{"apiVersion", "discovery.k8s.io/v1"},
                        {"kind", "EndpointSlice"},
                        {"metadata",
                         {{"name", "palisade-webhook-x1"},
                          {"labels", {{"kubernetes.io/service-name", "palisade-webhook"}}}}},
                        {"addressType", "IPv4"},
                        {"endpoints", Json::array({gone, ready})},
                        {"ports", Json::array({{{"name", "https"}, {"port", 8443}}})}});
    ASSERT_TRUE(slice) << slice.error().text();
  }

  // "NAME ADDRESS:PORT/PROTOCOL" of the policy that guard is given.
  std::vector<std::string> targets() {
    make_secret();
    make(workspace());
    await_pod();
    const Json map = find(kConfigMaps, "fix-login-agent");
    const Json policy = Json::parse(map.at("data").at("guard.json").get<std::string>());
    const Json& unreachable = policy.at("preflight").at("unreachable");
    std::vector<std::string> out;
    for (const Json& one : unreachable) {
      out.push_back(one.at("name").get<std::string>() + " " + one.at("address").get<std::string>() +
                    ":" + std::to_string(one.at("port").get<int>()) +
                    (one.value("udp", false) ? "/udp" : "/tcp"));
    }
    return out;
  }
  // As the API server has it.
  static Json spec_of(const char* ns, const char* name) {
    const auto found = admin_->get(kServices, ns, name);
    EXPECT_TRUE(found) << name;
    return found ? found->at("spec") : Json::object();
  }
};

TEST_F(OffLimits, AreTriedByTheirAddressesOfThisCluster) {
  const auto found = targets();
  const Json api = spec_of("default", "kubernetes");
  const Json dns = spec_of("kube-system", "kube-dns");
  const std::string api_service = api.at("clusterIP").get<std::string>() + ":" +
                                  std::to_string(api.at("ports").at(0).at("port").get<int>());
  const auto dns_address = dns.at("clusterIP").get<std::string>();
  for (const std::string& wanted :
       {std::string("the cloud's metadata service 169.254.169.254:80/tcp"),
        "the API server " + api_service + "/tcp",
        std::string("the API server 198.51.100.7:6443/tcp"),  // its EndpointSlice
        "the cluster's DNS " + dns_address + ":53/udp",
        "the cluster's DNS " + dns_address + ":53/tcp",
        std::string("another pod 10.244.0.7:8443/tcp")}) {
    EXPECT_THAT(found, ::testing::Contains(wanted));
  }
  EXPECT_THAT(found, ::testing::Not(::testing::Contains(::testing::HasSubstr("10.244.0.6"))))
      << "a pod that does not listen proves nothing";
}

}  // namespace
}  // namespace palisade::op::testing
