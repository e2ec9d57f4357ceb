// The API server's answers, read by simdjson: what nlohmann's own parser makes of them, without
// managedFields.
#include "decode.h"

#include <random>

#include <gtest/gtest.h>

namespace kube {
namespace {

using Json = nlohmann::json;

TEST(Decode, ReadsWhatTheUsualParserReads) {
  for (
      const char* text :
      {"{}", "[]", "null", "true", "0", "-1", "1e3", "1.5", "9223372036854775807",
       "-9223372036854775808", "18446744073709551615", R"("")", R"("aé\n\"\\ \uD83D\uDE00")",
       R"({"a":1,"a":2})", R"({"b":{"c":[1,[],{}]},"a":null})", " [1 , 2 ] ",
       R"({"metadata":{"name":"x","labels":{"managedFields":"y"}},"spec":{"managedFields":[1]}})"}) {
    const auto read = decode(text, Shape::kObject);
    ASSERT_TRUE(read) << text;
    const Json usual = Json::parse(text);
    EXPECT_EQ(*read, usual) << text;
    EXPECT_EQ(read->dump(), usual.dump()) << text;
    EXPECT_EQ(read->type(), usual.type()) << text;
  }
}

TEST(Decode, MinusZeroIsZero) {
  EXPECT_EQ(decode("-0", Shape::kObject), 0);
}

TEST(Decode, IntegersBeyond64BitsAreReadAsUsual) {
  for (const char* text : {"18446744073709551616", "[123456789012345678901234567890]"}) {
    const auto read = decode(text, Shape::kObject);
    ASSERT_TRUE(read) << text;
    EXPECT_EQ(*read, Json::parse(text)) << text;
  }
}

TEST(Decode, RefusesWhatIsNoJson) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("{} x"), std::string("{'a':1}"),
        std::string("[1,]"), std::string("\"\xff\""), std::string("nul"), std::string("01"),
        std::string("\"a\nb\""), std::string("{\"a\":1}\0", 8)})
    EXPECT_FALSE(decode(text, Shape::kObject)) << text;
}

TEST(Decode, RefusesWhatIsNestedTooDeeply) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(decode(nested(1000), Shape::kObject));
  EXPECT_FALSE(decode(nested(1100), Shape::kObject));
  EXPECT_FALSE(decode(nested(1'000'000), Shape::kObject));
}

TEST(Decode, LeavesOutManagedFieldsWhereObjectsStand) {
  const Json object{{"metadata", {{"name", "a"}, {"managedFields", {{{"manager", "kubectl"}}}}}},
                    {"data", {{"managedFields", "kept"}}},
                    {"spec", {{"template", {{"metadata", {{"managedFields", {1}}}}}}}}};
  Json without = object;
  without["metadata"].erase("managedFields");
  EXPECT_EQ(decode(object.dump(), Shape::kObject), without);

  const Json list{{"items", {object, object}}, {"metadata", {{"managedFields", {1}}}}};
  EXPECT_EQ(decode(list.dump(), Shape::kList),
            Json({{"items", {without, without}}, {"metadata", {{"managedFields", {1}}}}}));
  // What is no list has no items of its own.
  EXPECT_EQ(decode(Json{{"items", {object}}}.dump(), Shape::kObject), Json({{"items", {object}}}));

  const Json event{{"type", "ADDED"}, {"object", object}};
  EXPECT_EQ(decode(event.dump(), Shape::kEvent), Json({{"type", "ADDED"}, {"object", without}}));
}

Json random_value(std::mt19937& random, int depth) {
  const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  switch (below(depth > 4 ? 6 : 8)) {
    case 0:
      return nullptr;
    case 1:
      return below(2) == 0;
    case 2:
      return static_cast<std::int64_t>(random()) - (std::int64_t{1} << 31);
    case 3:
      return static_cast<double>(random()) / 7;
    case 4:
      return std::string(below(20), static_cast<char>(' ' + below(90)));
    case 5:
      return "\u00e9\u4e2d\U0001f600\x01\"\\/";
    case 6: {
      Json out = Json::array();
      for (unsigned i = below(5); i > 0; --i)
        out.push_back(random_value(random, depth + 1));
      return out;
    }
    default: {
      Json out = Json::object();
      for (unsigned i = below(5); i > 0; --i)
        out["k" + std::to_string(below(100))] = random_value(random, depth + 1);
      return out;
    }
  }
}

TEST(Decode, ReadsWhatIsWrittenAtRandom) {
  std::mt19937 random(20261123);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_value(random, 0).dump();
    EXPECT_EQ(decode(text, Shape::kObject), Json::parse(text)) << text;
  }
}

}  // namespace
}  // namespace kube
