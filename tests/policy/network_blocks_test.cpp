// Address blocks in NetworkPolicies: how much a peer may be, and where it must not lead.
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "cidr.h"
#include "policy/networks.h"

namespace palisade::policy::testing {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(NetworkPolicy, HugeBlocks) {
  for (const char* cidr :
       {"0.0.0.0/0", "0.0.0.0/00", "1.2.3.4/0", "10.1.2.3/8", "128.0.0.0/1", "64.0.0.0/2",
        "10.0.0.0/8", "10.0.0.0/15", "010.000.000.000/08", "::/0", "::/1", "8000::/1", "2000::/3",
        "2001:db8::/47",
        // IPv4 in other clothes
        "::ffff:0:0/96", "::ffff:0.0.0.0/96", "::ffff:10.0.0.0/104", "::ffff:8.8.8.8/97", "::/64",
        "::/80", "0:0:0:0:0:fffe::/95", "64:ff9b::/96", "64:ff9b::808:808/100", "2002::/16",
        "2002:0808::/31", "::8.0.0.0/104"}) {
    const auto fields = wide_fields(to_block(R"({"cidr": ")" + std::string(cidr) + "\"}"));
    EXPECT_THAT(fields, Contains("spec.egress[0].to[0].ipBlock.cidr")) << cidr;
    // What is excepted does not make a huge block small.
    const auto excepted =
        wide_fields(to_block(R"({"cidr": ")" + std::string(cidr) +
                             R"(", "except": ["169.254.0.0/16", "10.0.0.0/8", "fe80::/10"]})"));
    EXPECT_THAT(excepted, Contains("spec.egress[0].to[0].ipBlock.cidr")) << cidr;
  }
  for (const char* cidr : {"",
                           "10.0.0.1",
                           "10.0.0/8",
                           "10.0.0.0/33",
                           "10.0.0.0/-1",
                           "10.0.0.0/+8",
                           "10.0.0.0/8 ",
                           "::1",
                           ":::/0",
                           "::/129",
                           "1::2::3/64",
                           "fe80::1%eth0/64",
                           "12345::/64",
                           "all",
                           "/0",
                           "1.2.3.4.5/32",
                           "256.0.0.1/32",
                           "::1.2.3/128",
                           "1:2:3:4:5:6:7/128",
                           "1:2:3:4:5:6:7:8:9/128",
                           "1:2:3:4:5:6:7::8/128x",
                           "10.0.0.0/8/8"}) {
    EXPECT_THAT(wide_fields(to_block(R"({"cidr": ")" + std::string(cidr) + "\"}")),
                ElementsAre("spec.egress[0].to[0].ipBlock.cidr"))
        << cidr;
  }
  EXPECT_THAT(wide_fields(to_block(R"({"cidr": "10.7.0.0/24", "except": ["x"]})")),
              ElementsAre("spec.egress[0].to[0].ipBlock.except[0]"));
  EXPECT_THAT(wide_fields(to_block(R"({"cidr": "10.7.0.0/24", "excepted": []})")),
              ElementsAre("spec.egress[0].to[0].ipBlock.excepted"));
}

TEST(NetworkPolicy, BlocksThatAreHugeTogether) {
  const auto blocks = [](int count, const std::function<std::string(int)>& cidr) {
    json egress = json::array();
    for (int i = 0; i < count; ++i) {
      egress.push_back(
          {{"to", {{{"ipBlock", {{"cidr", cidr(i)}}}}}}, {"ports", {{{"port", 443}}}}});
    }
    return policy(json{{"podSelector", json::object()}, {"egress", egress}}.dump());
  };
  const auto v4 = [](int i) { return "20." + std::to_string(i) + ".0.0/16"; };
  const auto v6 = [](int i) { return "2001:db8:" + std::to_string(i) + "::/48"; };
  EXPECT_THAT(wide_fields(blocks(1, v4)), IsEmpty());
  EXPECT_THAT(wide_fields(blocks(2, v4)), ElementsAre("spec.egress"));
  EXPECT_THAT(wide_fields(blocks(1, v6)), IsEmpty());
  EXPECT_THAT(wide_fields(blocks(2, v6)), ElementsAre("spec.egress"));
  // The same block on several ports counts once.
  EXPECT_THAT(wide_fields(blocks(9, [](int) { return "20.1.0.0/16"; })), IsEmpty());
  // More blocks than are kept apart.
  EXPECT_THAT(wide_fields(blocks(4000,
                                 [](int i) {
                                   return "20.1." + std::to_string(i / 16) + "." +
                                          std::to_string(i % 16 * 16) + "/28";
                                 })),
              IsEmpty());
  EXPECT_THAT(wide_fields(blocks(4097,
                                 [](int i) {
                                   return "20." + std::to_string(i / 256) + "." +
                                          std::to_string(i % 256) + ".0/24";
                                 })),
              ElementsAre("spec.egress"));
}

TEST(NetworkPolicy, BlocksThatReachMetadataAndTheNode) {
  for (const char* cidr : {"169.254.169.254/32",
                           "169.254.0.0/16",
                           "169.254.169.0/24",
                           "100.100.100.200/32",
                           "100.100.0.0/16",
                           "168.63.129.16/32",
                           "192.0.0.192/32",
                           "fd00:ec2::254/128",
                           "fd00:ec2::/64",
                           "fd20:ce::254/128",
                           "fe80::/64",
                           "fe80::a9fe:a9fe/128",
                           "febf::/64",
                           "127.0.0.1/32",
                           "127.9.0.0/16",
                           "::1/128",
                           "::/128",
                           "0.0.0.0/32",
                           "0.1.0.0/16",
                           "255.255.255.255/32",
                           "224.0.0.251/32",
                           "240.0.0.0/16",
                           "ff02::fb/128",
                           "::ffff:169.254.169.254/128",
                           "::ffff:a9fe:a9fe/128",
                           "64:ff9b::a9fe:a9fe/128",
                           "64:ff9b::169.254.0.0/112",
                           "2002:a9fe:a9fe::/48",
                           "::169.254.169.254/128",
                           "0:0:0:0:0:ffff:7f00:1/128"}) {
    const NetworkPolicy p = to_block(R"({"cidr": ")" + std::string(cidr) + "\"}");
    EXPECT_THAT(wide_fields(p), ElementsAre("spec.egress[0].to[0].ipBlock.cidr")) << cidr;
    EXPECT_THAT(p.openings()[0].message, HasSubstr("reaches")) << cidr;
  }
  struct Case {
    const char* except;
    bool closed;
  };
  for (const Case& c :
       {Case{R"(["100.100.100.200/32"])", true}, Case{R"(["100.100.100.0/24"])", true},
        Case{R"(["100.100.100.201/32"])", false}, Case{R"(["100.100.100.200/31"])", true},
        Case{R"([])", false}, Case{R"(null)", false},
        Case{R"(["::ffff:100.100.100.200/128"])", true}}) {
    EXPECT_EQ(wide_fields(to_block(R"({"cidr": "100.100.0.0/16", "except": )" +
                                   std::string(c.except) + "}"))
                  .empty(),
              c.closed)
        << c.except;
  }
}

TEST(Cidr, ReadsWhatKubernetesReads) {
  const auto bits = [](const char* text) {
    const auto cidr = parse_cidr(text);
    return cidr ? cidr->bits : -1;
  };
  EXPECT_EQ(bits("10.0.0.0/8"), 104);
  EXPECT_EQ(bits("::/0"), 0);
  EXPECT_EQ(bits("2001:DB8:1:2:3:4:5:6/128"), 128);
  EXPECT_EQ(bits("1::/16"), 16);
  EXPECT_EQ(bits("::1:2:3:4:5:6:7/128"), 128);
  EXPECT_EQ(bits("1:2:3:4:5:6:1.2.3.4/128"), 128);
  EXPECT_EQ(bits("1:2:3:4:5:6:7:1.2.3.4/128"), -1);
  EXPECT_EQ(parse_cidr("10.1.2.3/8"), parse_cidr("10.0.0.0/8"));
  EXPECT_EQ(parse_cidr("::ffff:10.0.0.0/104"), parse_cidr("10.0.0.0/8"));
  EXPECT_NE(parse_cidr("::10.0.0.0/104"), parse_cidr("10.0.0.0/8"));
  EXPECT_TRUE(parse_cidr("10.0.0.0/9")->contains(*parse_cidr("10.127.0.0/16")));
  EXPECT_FALSE(parse_cidr("10.0.0.0/9")->contains(*parse_cidr("10.128.0.0/16")));
  EXPECT_FALSE(parse_cidr("10.0.0.0/16")->contains(*parse_cidr("10.0.0.0/8")));
  EXPECT_TRUE(parse_cidr("::/0")->contains(*parse_cidr("0.0.0.0/0")));
  EXPECT_TRUE(parse_cidr("10.0.0.0/8")->overlaps(*parse_cidr("0.0.0.0/0")));
  EXPECT_EQ(translated(*parse_cidr("64:ff9b::0a01:203/120")), parse_cidr("10.1.2.0/24"));
  EXPECT_EQ(translated(*parse_cidr("2002:a01:203::/48")), parse_cidr("10.1.2.3/32"));
  EXPECT_EQ(translated(*parse_cidr("2002:a01:203:4::/64")), parse_cidr("10.1.2.3/32"));
  EXPECT_EQ(translated(*parse_cidr("2001:db8::/32")), std::nullopt);
}

}  // namespace
}  // namespace palisade::policy::testing
