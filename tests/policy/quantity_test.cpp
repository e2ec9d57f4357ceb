#include <limits>

#include <gtest/gtest.h>

#include "quantity_field.h"

namespace palisade::policy {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

struct Good {
  const char* text;
  std::int64_t one;
  std::int64_t milli;
};

TEST(Quantity, Reads) {
  for (const Good& good : {
           Good{"0", 0, 0},
           Good{"1", 1, 1000},
           Good{"+1", 1, 1000},
           Good{"007", 7, 7000},
           Good{"1.", 1, 1000},
           Good{".5", 1, 500},
           Good{"0.5", 1, 500},
           Good{"100m", 1, 100},
           Good{"1m", 1, 1},
           Good{"1u", 1, 1},
           Good{"1n", 1, 1},
           Good{"1001u", 1, 2},
           Good{"1000000n", 1, 1},
           Good{"1500m", 2, 1500},
           Good{"2k", 2000, 2000000},
           Good{"3M", 3000000, 3000000000},
           Good{"1G", 1000000000, 1000000000000},
           Good{"1T", 1000000000000, 1000000000000000},
           Good{"1P", 1000000000000000, 1000000000000000000},
           Good{"1E", 1000000000000000000, kMax},
           Good{"10E", kMax, kMax},
           Good{"1Ki", 1024, 1024000},
           Good{"1.5Ki", 1536, 1536000},
           Good{"0.1Ki", 103, 102400},
           Good{"1Mi", 1048576, 1048576000},
           Good{"16Gi", 17179869184, 17179869184000},
           Good{"1Ti", 1099511627776, 1099511627776000},
           Good{"1Pi", 1125899906842624, 1125899906842624000},
           Good{"1Ei", 1152921504606846976, kMax},
           Good{"8Ei", kMax, kMax},
           Good{"999999999999999999Ei", kMax, kMax},
           Good{"1e3", 1000, 1000000},
           Good{"1E3", 1000, 1000000},
           Good{"1e+3", 1000, 1000000},
           Good{"1.25e2", 125, 125000},
           Good{"1e-3", 1, 1},
           Good{"1e-9", 1, 1},
           Good{"1e99999999999999999999", kMax, kMax},
           Good{"1e-99999999999999999999", 1, 1},
           Good{"0e999", 0, 0},
           Good{"9223372036854775807", kMax, kMax},
           Good{"9223372036854775808", kMax, kMax},
           Good{"99999999999999999999999999999999999999999999", kMax, kMax},
           Good{"0.00000000000000000000000000000000000000000001", 1, 1},
           Good{"1.00000000000000000000000000000000000000000000", 1, 1000},
           Good{"1.00000000000000000000000000000000000000000001", 2, 1001},
           Good{"100000000000000000000n", 100000000000, 100000000000000},
           Good{"-1", -1, -1000},
           Good{"-0", 0, 0},
           Good{"-1.5Gi", -1610612736, -1610612736000},
           Good{"-99E", -kMax, -kMax},
       }) {
    EXPECT_EQ(parse_quantity(good.text, Unit::one), good.one) << good.text;
    EXPECT_EQ(parse_quantity(good.text, Unit::milli), good.milli) << good.text;
  }
}

TEST(Quantity, Refuses) {
  for (const char* text :
       {"",      " ",   "1 ",   " 1",  ".",   "+",   "-",       "+-1",  "--1",  "1.2.3",
        "Gi",    "m",   "e3",   "1e",  "1E+", "1e-", "1e+-3",   "1e 3", "1e3m", "1e1.5",
        "1ki",   "1KI", "1Kib", "1mi", "1gb", "1g",  "1K",      "1Zi",  "1Y",   "0x10",
        "1_000", "1,5", "ten",  "NaN", "Inf", "1\n", "\xC2\xBD"}) {
    EXPECT_EQ(parse_quantity(text, Unit::one), std::nullopt) << text;
  }
  EXPECT_EQ(parse_quantity(std::string_view("1\0", 2), Unit::one), std::nullopt);
  EXPECT_EQ(parse_quantity(std::string(1000, '0'), Unit::one), std::nullopt);
}

TEST(Quantity, ReadsNumbersToo) {
  simdjson::dom::parser parser;
  const auto read = [&](std::string_view json) {
    const simdjson::padded_string text(json);
    const simdjson::dom::element root = parser.parse(text);
    const Node node(root, "");
    const Node value = node["q"];
    return read_quantity(value, Unit::milli);
  };
  EXPECT_TRUE(read(R"({"q": 2})").is(2000));
  EXPECT_TRUE(read(R"({"q": 0.25})").is(250));
  EXPECT_TRUE(read(R"({"q": 1e3})").is(1000000));
  EXPECT_TRUE(read(R"({"q": 18446744073709551615})").is(kMax));
  EXPECT_TRUE(read(R"({"q": 1e300})").is(kMax));
  EXPECT_TRUE(read(R"({"q": -1})").is(-1000));
  EXPECT_TRUE(read(R"({"q": null})").absent());
  EXPECT_TRUE(read(R"({})").absent());
  EXPECT_TRUE(read(R"({"q": true})").broken());
  EXPECT_TRUE(read(R"({"q": []})").broken());
  EXPECT_TRUE(read(R"({"q": {}})").broken());
  EXPECT_TRUE(read(R"({"q": "x"})").broken());
}

}  // namespace
}  // namespace palisade::policy
