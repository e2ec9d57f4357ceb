// What a session may reach: URLs to addresses, and everything that is refused.
#include <gmock/gmock.h>

#include "operator/fixture.h"

namespace palisade::op::testing {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kApi{"10.96.0.1", "198.51.100.7", "2001:db8::7"};

Json block(const std::string& cidr, std::vector<std::string> except = {}) {
  Json out{{"cidr", cidr}};
  if (!except.empty()) out["except"] = except;
  return {{"ipBlock", out}};
}

Json rules(const Json& peer) {
  return Json::array({{{"to", Json::array({peer})}}});
}

TEST(Cidr, IsReadStrictly) {
  const std::pair<const char*, int> good[] = {
      {"10.0.0.0/8", 104},      {"10.0.0.1", 128},
      {"0.0.0.0/0", 96},        {"::/0", 0},
      {"fd00::/8", 8},          {"::1", 128},
      {"::ffff:10.0.0.1", 128}, {"::ffff:10.0.0.0/104", 104}};
  for (const auto& [text, bits] : good) {
    const auto parsed = parse_cidr(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(parsed->bits, bits) << text;
  }
  for (const char* bad :
       {"", "/", "10", "10.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x",
        "10.0.0.0/ 8", "10.0.0.256", "::/129", "localhost", "10.0.0.0/8/8", "0x7f.1", "010.0.0.1",
        "2130706433", " 10.0.0.1", "fe80::1%eth0", "10.0.0.0/99999999999999"})
    EXPECT_FALSE(parse_cidr(bad)) << bad;
}

TEST(Cidr, ContainsAndOverlaps) {
  struct Row {
    const char *outer, *inner;
    bool contains, overlaps;
  };
  const Row rows[] = {
      {"10.0.0.0/8", "10.1.2.3", true, true},  {"10.0.0.0/8", "11.0.0.0", false, false},
      {"10.1.2.3", "10.0.0.0/8", false, true}, {"10.0.0.0/9", "10.128.0.0/9", false, false},
      {"10.0.0.0/31", "10.0.0.1", true, true}, {"10.0.0.0/31", "10.0.0.2", false, false},
      {"::/0", "10.0.0.1", true, true},        {"::ffff:10.0.0.0/104", "10.9.9.9", true, true},
      {"fd00::/8", "fd12::1", true, true},     {"fd00::/8", "fe00::1", false, false},
  };
  for (const Row& row : rows) {
    const auto outer = parse_cidr(row.outer);
    const auto inner = parse_cidr(row.inner);
    ASSERT_TRUE(outer && inner);
    EXPECT_EQ(outer->contains(*inner), row.contains) << row.outer << " " << row.inner;
    EXPECT_EQ(outer->overlaps(*inner), row.overlaps) << row.outer << " " << row.inner;
  }
}

TEST(Target, UrlsAreTakenApart) {
  struct Row {
    const char *url, *host;
    int port;
    bool tls, address;
    const char* service;  // "name/namespace"
  };
  const Row rows[] = {
      {"https://git.example.com/a", "git.example.com", 443, true, false, ""},
      {"http://llm.llm.svc:8080/v1", "llm.llm.svc", 8080, false, false, "llm/llm"},
      {"http://LLM.llm.SVC/v1", "llm.llm.svc", 80, false, false, "llm/llm"},
      {"https://git.team.svc.cluster.local", "git.team.svc.cluster.local", 443, true, false,
       "git/team"},
      {"https://git.team.svc.cluster.local./a", "git.team.svc.cluster.local", 443, true, false,
       "git/team"},
      {"https://a.b.c.svc/x", "a.b.c.svc", 443, true, false, ""},
      {"https://.svc/x", ".svc", 443, true, false, ""},
      {"https://svc/x", "svc", 443, true, false, ""},
      {"https://192.0.2.1:8443/a", "192.0.2.1", 8443, true, true, ""},
      {"https://[2001:db8::1]:3000/a", "2001:db8::1", 3000, true, true, ""},
      {"https://[2001:db8::1]/a", "2001:db8::1", 443, true, true, ""},
      {"https://git.example.com?x", "git.example.com", 443, true, false, ""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.url);
    const auto target = parse_target(row.url);
    ASSERT_TRUE(target) << target.error();
    EXPECT_EQ(target->host, row.host);
    EXPECT_EQ(target->port, row.port);
    EXPECT_EQ(target->tls, row.tls);
    EXPECT_EQ(target->is_address(), row.address);
    const auto service = target->service();
    EXPECT_EQ(service ? service->first + "/" + service->second : "", row.service);
  }
  for (const char* bad : {"",
                          "git.example.com",
                          "ftp://x/",
                          "ext::sh",
                          "file:///x",
                          "https://",
                          "https:///x",
                          "https://:443/x",
                          "https://u@h/x",
                          "https://u:p@h/x",
                          "https://h:0/",
                          "https://h:65536/",
                          "https://h:/",
                          "https://h:x/",
                          "https://h:443x/",
                          "https://[::1/x",
                          "https://[::1]x/",
                          "https://[]/x",
                          "https://./x",
                          "HTTPS://h/"})
    EXPECT_FALSE(parse_target(bad)) << bad;
}

TEST(Forbidden, WhatNoSessionReaches) {
  struct Row {
    const char* cidr;
    const char* because;  // "" allowed
  };
  const Row rows[] = {
      {"203.0.113.0/24", ""},
      {"10.128.0.0/9", ""},
      {"10.96.0.1", "the API server (10.96.0.1)"},
      {"10.96.0.0/12", "the API server (10.96.0.1)"},
      {"::ffff:10.96.0.1", "the API server (10.96.0.1)"},
      {"198.51.100.7/32", "the API server (198.51.100.7)"},
      {"2001:db8::/64", "the API server (2001:db8::7)"},
      {"169.254.169.254", "link-local"},
      {"169.254.0.0/16", "link-local"},
      {"168.0.0.0/6", "link-local"},
      {"::ffff:169.254.169.254", "link-local"},
      {"::ffff:0:0/96", ""},  // below
      {"100.100.100.200", "metadata"},
      {"100.100.0.0/16", "metadata"},
      {"fd00:ec2::254", "metadata"},
      {"fd00::/8", "metadata"},
      {"fe80::1", "link-local"},
      {"127.0.0.1", "loopback"},
      {"127.9.9.9", "loopback"},
      {"::1", "loopback"},
      {"0.0.0.0", "this host"},
      {"0.0.0.0/0", ""},
      {"::/0", ""},
      {"::", "unspecified"},
      {"224.0.0.1", "multicast"},
      {"ff02::1", "multicast"},
      {"100.64.0.1", ""},  // named
      {"100.64.0.0/10", "metadata"},
      {"96.0.0.0/3", ""},
  };
  const std::vector<std::string> broad{"::ffff:0:0/96", "0.0.0.0/0", "::/0", "96.0.0.0/3"};
  for (const Row& row : rows) {
    const std::string reason = forbidden_reason(*parse_cidr(row.cidr), {}, kApi);
    if (std::ranges::find(broad, row.cidr) != broad.end()) {
      EXPECT_NE(reason, "") << row.cidr << " holds forbidden ranges";
    } else if (*row.because == '\0') {
      EXPECT_EQ(reason, "") << row.cidr;
    } else {
      EXPECT_THAT(reason, HasSubstr(row.because)) << row.cidr;
    }
  }
}

TEST(Forbidden, ExceptionsMakeRoomOnlyWhereTheyCoverTheWholeRange) {
  const auto reason = [](const char* cidr, std::vector<const char*> except) {
    std::vector<Cidr> holes;
    for (const char* hole : except)
      holes.push_back(*parse_cidr(hole));
    return forbidden_reason(*parse_cidr(cidr), holes, {"198.51.100.7"});
  };
  EXPECT_EQ(reason("198.51.0.0/16", {"198.51.100.7/32"}), "");
  EXPECT_EQ(reason("198.51.0.0/16", {"198.51.100.0/24"}), "");
  EXPECT_NE(reason("198.51.0.0/16", {"198.51.101.0/24"}), "");
  EXPECT_EQ(reason("168.0.0.0/6", {"169.254.0.0/16"}), "");
  EXPECT_NE(reason("168.0.0.0/6", {"169.254.169.254/32"}), "") << "the rest of the range is open";
  EXPECT_EQ(reason("0.0.0.0/0", {"0.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
                                 "224.0.0.0/4", "198.51.100.7"}),
            "");
}

// A pod behind a Service, as an EndpointSlice has it.
Json backend(const std::string& address, const std::string& node, Json conditions = Json()) {
  Json out{{"addresses", {address}}, {"nodeName", node}};
  if (!conditions.is_null()) out["conditions"] = std::move(conditions);
  return out;
}

Json slice(Json endpoints, Json ports = Json::array({{{"port", 8443}, {"protocol", "TCP"}}}),
           const char* type = "IPv4") {
  return {{"addressType", type}, {"endpoints", std::move(endpoints)}, {"ports", std::move(ports)}};
}

std::vector<std::string> told(const std::vector<Json>& slices) {
  std::vector<std::string> out;
  for (const Unreachable& one : pods_behind(slices)) {
    EXPECT_EQ(one.name, "another pod");
    EXPECT_FALSE(one.udp || one.forbidden || !one.of_pod);
    out.push_back(one.address + " " + std::to_string(one.port));
  }
  return out;
}

TEST(PodsBehind, AreTwoThatListenOnTwoNodesWhereThereAreTwo) {
  using Told = std::vector<std::string>;
  const Json ready{{"ready", true}, {"serving", true}, {"terminating", false}};
  const Json starting{{"ready", false}};
  const Json ending{{"ready", true}, {"terminating", true}};
  const Json a = backend("10.244.0.7", "one", ready);
  const Json b = backend("10.244.0.8", "one");
  const Json c = backend("10.244.1.9", "two", ready);
  EXPECT_EQ(told({}), Told{});
  EXPECT_EQ(told({slice(Json::array())}), Told{});
  EXPECT_EQ(told({slice(Json::array({a}))}), Told{"10.244.0.7 8443"});
  EXPECT_EQ(told({slice(Json::array({b, a}))}), (Told{"10.244.0.7 8443", "10.244.0.8 8443"}));
  for (const auto& order : {Json::array({a, b, c}), Json::array({c, b, a}), Json::array({b, c, a})})
    EXPECT_EQ(told({slice(order)}), (Told{"10.244.0.7 8443", "10.244.1.9 8443"}));
  EXPECT_EQ(told({slice(Json::array({c})), slice(Json::array({a}))}),
            (Told{"10.244.0.7 8443", "10.244.1.9 8443"}))
      << "one Service may have several slices";
  EXPECT_EQ(told({slice(Json::array({a})), slice(Json::array({a}))}), Told{"10.244.0.7 8443"})
      << "a pod may stand in two slices for a while";
  EXPECT_EQ(told({slice(Json::array({backend("10.244.0.7", "one", starting),
                                     backend("10.244.0.8", "one", ending), c}))}),
            Told{"10.244.1.9 8443"});
  EXPECT_EQ(told({slice(Json::array({a}), Json::array({{{"port", 53}, {"protocol", "UDP"}},
                                                       {{"port", 53}, {"protocol", "TCP"}},
                                                       {{"port", 8443}}}))}),
            (Told{"10.244.0.7 53", "10.244.0.7 8443"}));
  EXPECT_EQ(told({slice(Json::array({backend("fd00::7", "one")}), Json::array({{{"port", 8443}}}),
                        "IPv6"),
                  slice(Json::array({a}))}),
            (Told{"10.244.0.7 8443", "fd00::7 8443"}));
}

TEST(PodsBehind, WhatIsNoAddressIsPassedOver) {
  const Json ports = Json::array({{{"port", 8443}}});
  for (const Json& odd :
       {Json(nullptr), Json("text"), Json::object(), slice(Json("text")), slice(Json(nullptr)),
        slice(
            Json::array({Json("text"), Json{{"addresses", Json::array()}}, Json{{"addresses", {7}}},
                         Json{{"addresses", "10.244.0.7"}}, backend("10.244.0.0/16", "one"),
                         backend("webhook.example.com", "one")})),
        slice(Json::array({backend("webhook.example.com", "one")}), ports, "FQDN")}) {
    EXPECT_TRUE(pods_behind({odd}).empty()) << odd;
  }
}

TEST(ServiceEndpoint, BecomesItsAddressAndItsPods) {
  const auto target = parse_target("http://llm.models.svc:8080/v1");
  const Json service{{"spec",
                      {{"clusterIP", "10.96.0.20"},
                       {"selector", {{"app", "llm"}, {"tier", "x"}}},
                       {"ports", Json::array({{{"name", "m"}, {"port", 9}, {"targetPort", 9}},
                                              {{"port", 8080}, {"targetPort", "http"}},
                                              {{"port", 8080}, {"protocol", "UDP"}}})}}}};
  const auto endpoint = service_endpoint(*target, service);
  ASSERT_TRUE(endpoint) << endpoint.error();
  EXPECT_EQ(endpoint->host, "llm.models.svc");
  EXPECT_EQ(endpoint->alias, "10.96.0.20");
  EXPECT_EQ(endpoint->peers,
            Json::array({{{"namespaceSelector",
                           {{"matchLabels", {{"kubernetes.io/metadata.name", "models"}}}}},
                          {"podSelector", {{"matchLabels", {{"app", "llm"}, {"tier", "x"}}}}}}}));
  EXPECT_EQ(endpoint->ports, Json::array({{{"protocol", "TCP"}, {"port", "http"}}}));

  Json bare = service;
  bare["spec"]["ports"] = Json::array({{{"port", 8080}}});
  EXPECT_EQ(service_endpoint(*target, bare)->ports,
            Json::array({{{"protocol", "TCP"}, {"port", 8080}}}));

  const std::pair<Json, const char*> refused[] = {
      {{{"spec", {{"clusterIP", "None"}}}}, "headless"},
      {{{"spec", {{"clusterIP", nullptr}}}}, "headless"},
      {{{"spec", {{"type", "ExternalName"}, {"clusterIP", ""}}}}, "headless"},
      {{{"spec", {{"selector", nullptr}}}}, "no selector"},
      {{{"spec", {{"selector", {{"app", nullptr}, {"tier", nullptr}}}}}}, "no selector"},
      {{{"spec", {{"ports", Json::array({{{"port", 81}}})}}}}, "no TCP port 8080"},
      {{{"spec", {{"ports", Json::array({{{"port", 8080}, {"protocol", "UDP"}}})}}}},
       "no TCP port 8080"},
  };
  for (const auto& [change, because] : refused) {
    Json other = service;
    other.merge_patch(change);
    const auto outcome = service_endpoint(*target, other);
    ASSERT_FALSE(outcome) << change;
    EXPECT_THAT(outcome.error(), HasSubstr(because));
  }
}

TEST(AddressEndpoint, OneAddressIsOpenedAndNamed) {
  const auto named = address_endpoint(*parse_target("https://git.example.com:8443/a"),
                                      {"192.0.2.11", "192.0.2.10", "192.0.2.11"}, kApi);
  ASSERT_TRUE(named) << named.error();
  EXPECT_EQ(named->alias, "192.0.2.10") << "whatever the order of the answer";
  EXPECT_EQ(named->peers, Json::array({block("192.0.2.10/32")}));
  EXPECT_EQ(named->ports, Json::array({{{"protocol", "TCP"}, {"port", 8443}}}));

  const auto literal =
      address_endpoint(*parse_target("https://[2001:db8::1]/a"), {"2001:db8::1"}, kApi);
  ASSERT_TRUE(literal) << literal.error();
  EXPECT_EQ(literal->alias, "");
  EXPECT_EQ(literal->peers, Json::array({block("2001:db8::1/128")}));

  // One bad address among good ones is a trap: rebinding a name to the metadata server.
  for (const char* bad : {"169.254.169.254", "127.0.0.1", "::1", "0.0.0.0", "10.96.0.1",
                          "198.51.100.7", "::ffff:127.0.0.1", "fe80::1", "nonsense", ""}) {
    EXPECT_FALSE(
        address_endpoint(*parse_target("https://git.example.com/a"), {"192.0.2.10", bad}, kApi))
        << bad;
  }
  EXPECT_FALSE(address_endpoint(*parse_target("https://git.example.com/a"), {}, kApi));
}

TEST(Egress, PeersAreJudgedWithTheirPath) {
  EXPECT_EQ(check_egress(Json::array(), kApi), "");
  EXPECT_EQ(check_egress(rules(block("203.0.113.0/24")), kApi), "");
  EXPECT_EQ(check_egress(rules(block("198.51.0.0/16", {"198.51.100.0/24"})), kApi), "");
  EXPECT_EQ(check_egress(rules({{"podSelector", {{"matchLabels", {{"app", "db"}}}}}}), kApi), "");
  EXPECT_EQ(check_egress(rules(block("100.64.1.0/24")), kApi), "") << "named";
  const std::pair<Json, const char*> refused[] = {
      {Json::object(), "spec.isolation.egress is not a list"},
      {"x", "spec.isolation.egress is not a list"},
      {Json::array({Json::object()}), "egress[0].to must name"},
      {Json::array({1}), "egress[0].to must name"},
      {Json::array({{{"to", Json::array()}}}), "egress[0].to must name"},
      {Json::array({{{"to", "x"}}}), "egress[0].to must name"},
      {rules(Json::object()), "egress[0].to[0] names nothing"},
      {rules(nullptr), "egress[0].to[0] names nothing"},
      {rules({{"ipBlock", nullptr}}), "ipBlock.cidr is no address range"},
      {rules({{"ipBlock", {{"cidr", 7}}}}), "ipBlock.cidr is no address range"},
      {rules(block("")), "ipBlock.cidr is no address range"},
      {rules(block("10.0.0.0/8", {"x"})), "ipBlock.except holds"},
      {rules({{"ipBlock", {{"cidr", "10.0.0.0/8"}, {"except", "10.96.0.1"}}}}),
       "ipBlock.except is not a list"},
      {rules(block("10.0.0.0/8")), "the API server (10.96.0.1)"},
      {rules(block("0.0.0.0/0")), "is refused"},
      {rules(block("::/0")), "is refused"},
      {rules(block("169.254.169.254/32")), "link-local"},
      {Json::array({{{"to", Json::array({block("203.0.113.0/24"), block("127.0.0.0/8")})}}}),
       "egress[0].to[1].ipBlock 127.0.0.0/8"},
  };
  for (const auto& [egress, says] : refused)
    EXPECT_THAT(check_egress(egress, kApi), HasSubstr(says)) << egress;
}

TEST(FitsPod, OnlyWhatThePodWasMadeWith) {
  const Json aliases = pod_of(usual_workspace())["spec"]["hostAliases"];
  const std::string git = "https://git.example.com/team/app.git";
  EXPECT_TRUE(fits_pod(access().git, git, aliases));
  EXPECT_TRUE(fits_pod(access().llm, access().llm_url, aliases));
  EXPECT_FALSE(fits_pod(access().git, "https://other.example.com/x", aliases));
  EXPECT_FALSE(fits_pod(access().git, "https://git.example.com:8443/x", aliases));
  EXPECT_FALSE(fits_pod(access().git, git, Json::array()));
  EXPECT_FALSE(fits_pod(access().git, git, Json()));
  Endpoint literal{"192.0.2.1", "", Json::array({block("192.0.2.1/32")}),
                   Json::array({{{"protocol", "TCP"}, {"port", 443}}})};
  EXPECT_TRUE(fits_pod(literal, "https://192.0.2.1/x", Json::array()));
  literal.peers = Json::array({block("192.0.2.0/24")});
  EXPECT_FALSE(fits_pod(literal, "https://192.0.2.1/x", Json::array()));
}

}  // namespace
}  // namespace palisade::op::testing
