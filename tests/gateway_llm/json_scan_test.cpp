#include "json_scan.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway::llm {
namespace {

TEST(JsonScan, SaysWhereMembersLie) {
  const std::string text =
      " {\"model\" : \"a\\\"b\", \"m\\u006f\": [1, {\"x\": []}], \"n\":-1.5e3 ,"
      "\"t\":true,\"z\":null,\"o\":{}}\n";
  const auto members = read_object(text);
  ASSERT_TRUE(members) << members.error().what;
  ASSERT_EQ(members->size(), 6U);
  struct {
    const char* key;
    JsonType type;
    const char* value;
  } const wanted[] = {{"model", JsonType::kString, "\"a\\\"b\""},
                      {"mo", JsonType::kArray, "[1, {\"x\": []}]"},
                      {"n", JsonType::kNumber, "-1.5e3"},
                      {"t", JsonType::kBool, "true"},
                      {"z", JsonType::kNull, "null"},
                      {"o", JsonType::kObject, "{}"}};
  for (std::size_t i = 0; i < members->size(); ++i) {
    EXPECT_EQ((*members)[i].key, wanted[i].key);
    EXPECT_EQ((*members)[i].type, wanted[i].type) << wanted[i].key;
    EXPECT_EQ((*members)[i].value.of(text), wanted[i].value) << wanted[i].key;
  }
  EXPECT_EQ(find_member(*members, "none"), nullptr);
  EXPECT_EQ(find_member(*members, "t")->value.of(text), "true");
}

// What is JSON and what is not: as another reader says.
TEST(JsonScan, AgreesOnSyntax) {
  for (const std::string& text : std::vector<std::string>{"{}",
                                                          "[]",
                                                          "0",
                                                          "-0",
                                                          "-",
                                                          "01",
                                                          "1.",
                                                          "1.5",
                                                          ".5",
                                                          "1e5",
                                                          "1e",
                                                          "1E+2",
                                                          "+1",
                                                          "\"\"",
                                                          "\"",
                                                          "\"\\\"",
                                                          "\"\\x\"",
                                                          "\"\\u12\"",
                                                          "\"\\u12Gx\"",
                                                          "\"\\u1234\"",
                                                          "\"a\nb\"",
                                                          "\"\x7f\"",
                                                          "true",
                                                          "tru",
                                                          "truex",
                                                          "nul",
                                                          "null ",
                                                          " null",
                                                          "{\"a\"}",
                                                          "{\"a\":}",
                                                          "{\"a\":1,}",
                                                          "{,}",
                                                          "[1,]",
                                                          "[,1]",
                                                          "[1 2]",
                                                          "{\"a\":1 \"b\":2}",
                                                          "{a:1}",
                                                          "{'a':1}",
                                                          "{\"a\":1}}",
                                                          "[[]",
                                                          "[]]",
                                                          "{]",
                                                          "[}",
                                                          "1 2",
                                                          "",
                                                          " ",
                                                          "NaN",
                                                          "Infinity",
                                                          "// x\n1",
                                                          "[1,\t2\r\n]",
                                                          "{\"a\":{\"b\":[{},{}]}}",
                                                          "\"\\ud83d\\ude00\"",
                                                          "[\f1]",
                                                          "{\"a\":1,\"b\":[true,false]}"}) {
    EXPECT_EQ(check_json(text).has_value(), nlohmann::json::accept(text)) << text;
  }
}

TEST(JsonScan, Refuses) {
  struct {
    std::string text;
    const char* what;
  } const cases[] = {
      {"", "it is empty"},
      {"\xEF\xBB\xBF{}", "a value was expected"},
      {"[1]", "it is not an object"},
      {"{\"a\":1,\"b\":2,\"a\":3}", "a member's name is there twice"},
      {"{\"a\":1,\"\\u0061\":3}", "a member's name is there twice"},
      {"{\"x\":{\"a\":1,\"b\":[],\"a\":3}}", "a member's name is there twice"},
      {"{\"x\":[{\"a\":1,\"a\":3}]}", "a member's name is there twice"},
      {"{\"a\":\"\xC3\x28\"}", "it is not valid UTF-8"},
      {"{\"a\":\"\xED\xA0\x80\"}", "it is not valid UTF-8"},
      {"{\"a\":\"" + std::string(1, '\0') + "\"}", "a string has a control character"},
      {"{\"a\":1}{}", "there is more behind its end"},
      {"{\"a\":1", "a , or } was expected"},
      {"{\"a\":\"x", "a string does not end"},
      {"{\"x\":" + std::string(64, '[') + std::string(64, ']') + "}", "nested deeper than 64"},
      {std::string(1'000'000, '['), "nested deeper than 64"},
  };
  for (const auto& test : cases) {
    const auto members = read_object(test.text);
    ASSERT_FALSE(members) << test.text.substr(0, 60);
    EXPECT_NE(members.error().what.find(test.what), std::string::npos)
        << test.text.substr(0, 60) << " says " << members.error().what;
  }
  const std::string deep = "{\"x\":" + std::string(63, '[') + std::string(63, ']') + "}";
  EXPECT_TRUE(read_object(deep));
  // The same name in objects side by side is none that is there twice.
  EXPECT_TRUE(read_object("{\"x\":[{\"a\":1},{\"a\":1}],\"a\":{\"a\":{\"x\":1}}}"));
}

TEST(JsonScan, Decodes) {
  for (const std::string& text : std::vector<std::string>{
           "\"\"", "\"plain\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\u0041\\u00e9\\u20ac\"",
           "\"\\ud83d\\ude00 x\"", "\"caf\xC3\xA9\"", "\"a\\\\n\""}) {
    EXPECT_EQ(decoded(text), nlohmann::json::parse(text).get<std::string>()) << text;
  }
  EXPECT_EQ(decoded("\"\\ud83d\""), "\xEF\xBF\xBD");
  EXPECT_EQ(decoded("\"\\ud83dx\""), "\xEF\xBF\xBDx");
  EXPECT_EQ(decoded("\"\\ude00\\ud83d\\u0041\""),
            "\xEF\xBF\xBD\xEF\xBF\xBD"
            "A");
}

TEST(JsonScan, FindsStringsAndPaths) {
  const std::string text =
      R"({"model":"m","messages":[{"role":"user"},{"content":[{"text":"a"},{"te\"xt":"b"}]}],"n":"c"})";
  struct {
    const char* string;
    const char* path;
    bool name;
  } const wanted[] = {{"model", "model", true},
                      {"m", "model", false},
                      {"messages", "messages", true},
                      {"role", "messages[0].role", true},
                      {"user", "messages[0].role", false},
                      {"content", "messages[1].content", true},
                      {"text", "messages[1].content[0].text", true},
                      {"a", "messages[1].content[0].text", false},
                      {"te\"xt", "messages[1].content[1].?", true},
                      {"b", "messages[1].content[1].?", false},
                      {"n", "n", true},
                      {"c", "n", false}};
  std::size_t at = 0;
  for (const auto& want : wanted) {
    const auto string = next_string(text, at);
    ASSERT_TRUE(string);
    at = string->end;
    EXPECT_EQ(decoded(string->of(text)), want.string);
    EXPECT_EQ(path_at(text, string->begin), want.path);
    EXPECT_EQ(is_name(text, *string), want.name) << want.string;
  }
  EXPECT_FALSE(next_string(text, at));
}

TEST(JsonScan, EditsLeaveTheRest) {
  EXPECT_EQ(edited("0123456789", {{{0, 0}, "<"}, {{2, 4}, "ab"}, {{4, 5}, ""}, {{10, 10}, ">"}}),
            "<01ab56789>");
  EXPECT_EQ(edited("abc", {}), "abc");
}

}  // namespace
}  // namespace palisade::gateway::llm
