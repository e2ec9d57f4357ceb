// The readers: what a manifest means, as kubectl reads it, and what is refused with its place.
#include "yaml_json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <simdjson.h>

namespace palisade::cli {
namespace {

using nlohmann::json;

json one(std::string_view text) {
  const auto documents = read_documents(text);
  if (!documents) {
    return "error " + std::to_string(documents.error().line) + ":" +
           std::to_string(documents.error().column) + " " + documents.error().message;
  }
  if (documents->size() != 1) return std::to_string(documents->size()) + " documents";
  simdjson::dom::parser parser;
  if (parser.parse((*documents)[0].json).error() != simdjson::SUCCESS) return "not simdjson's JSON";
  return json::parse((*documents)[0].json);
}

struct Value {
  const char* yaml;
  const char* wanted;
};

// Each was compared with sigs.k8s.io/yaml v1.6.0, which kubectl v1.36 uses.
TEST(Yaml, PlainScalarsAreWhatKubectlTakesThemFor) {
  for (const Value& value : {
           Value{"y", "true"},
           Value{"Yes", "true"},
           Value{"on", "true"},
           Value{"TRUE", "true"},
           Value{"n", "false"},
           Value{"NO", "false"},
           Value{"off", "false"},
           Value{"False", "false"},
           Value{"yEs", R"("yEs")"},
           Value{"tRUE", R"("tRUE")"},
           Value{"~", "null"},
           Value{"", "null"},
           Value{"Null", "null"},
           Value{"nUll", R"("nUll")"},
           Value{"0", "0"},
           Value{"+1", "1"},
           Value{"-1", "-1"},
           Value{"-0", "0"},
           Value{"017", "15"},
           Value{"0o17", "15"},
           Value{"-017", "-15"},
           Value{"08", "8"},
           Value{"0x1F", "31"},
           Value{"-0x1F", "-31"},
           Value{"0b101", "5"},
           Value{"0b2", R"("0b2")"},
           Value{"1_000", "1000"},
           Value{"1,000", R"("1,000")"},
           Value{"1.0", "1"},
           Value{"1.", "1"},
           Value{".5", "0.5"},
           Value{"-.5", "-0.5"},
           Value{"1e3", "1000"},
           Value{"1e-3", "0.001"},
           Value{"1e400", R"("1e400")"},
           Value{"18446744073709551615", "18446744073709551615"},
           Value{"18446744073709551616", "1.8446744073709552e+19"},
           Value{"1e20", "1e+20"},
           Value{"-9223372036854775808", "-9223372036854775808"},
           Value{"2001-01-01", R"("2001-01-01")"},
           Value{"12:30", R"("12:30")"},
           Value{"190:20:30", R"("190:20:30")"},
           Value{"1.2.3", R"("1.2.3")"},
           Value{"100m", R"("100m")"},
           Value{"2Gi", R"("2Gi")"},
           Value{"NaN", R"("NaN")"},
           Value{"'1'", R"("1")"},
           Value{"\"yes\"", R"("yes")"},
           Value{"'null'", R"("null")"},
           Value{"''", R"("")"},
           Value{"'it''s'", R"("it's")"},
           Value{R"("\u00e9\n\x41")", R"("é\nA")"},
           Value{"!!str yes", R"("yes")"},
           Value{"!!str", R"("")"},
           Value{"!!int \"3\"", "3"},
           Value{"!!float 3", "3"},
           Value{"!!bool yes", "true"},
           Value{"! 12", R"("12")"},
           Value{"x #c", R"("x")"},
           Value{"x#c", R"("x#c")"},
           Value{"x\n  y", R"("x y")"},
           Value{"|\n  x\n  y", R"("x\ny\n")"},
           Value{">-\n  x\n  y", R"("x y")"},
           Value{"[1, {b: c}]", R"([1, {"b": "c"}])"},
           Value{"{}", "{}"},
           Value{"[]", "[]"},
       }) {
    EXPECT_EQ(one("a: " + std::string(value.yaml) + "\n"), (json{{"a", json::parse(value.wanted)}}))
        << value.yaml;
  }
}

TEST(Yaml, StructuresAndKeys) {
  for (const Value& value : {
           Value{"1: a\nyes: b\n0x10: c\n'1.5': d\n",
                 R"({"1": "a", "true": "b", "16": "c", "1.5": "d"})"},
           Value{"- - 1\n  - 2\n- 3\n", "[[1, 2], 3]"}, Value{"? a\n: b\n", R"({"a": "b"})"},
           Value{"a: &x {b: 1}\nc: *x\nd: [*x]\n",
                 R"({"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}]})"},
           Value{"x: &d {a: 1, b: 2}\nz:\n  <<: *d\n  b: 3\n",
                 R"({"x": {"a": 1, "b": 2}, "z": {"a": 1, "b": 3}})"},
           Value{"x: &d {a: 1}\nz:\n  <<: [*d, {c: 4, a: 9}]\n",
                 R"({"x": {"a": 1}, "z": {"a": 1, "c": 4}})"},
           Value{"a: &x {b: 1}\nm: &y {<<: *x, c: 2}\nz: {<<: *y}\n",
                 R"({"a": {"b": 1}, "m": {"b": 1, "c": 2}, "z": {"b": 1, "c": 2}})"},
           Value{"'<<': {a: 1}\n", R"({"<<": {"a": 1}})"},
           Value{"%YAML 1.1\n---\na: 1\n...\n", R"({"a": 1})"},
           Value{"\xEF\xBB\xBF"
                 "a: 1\n",
                 R"({"a": 1})"},
           Value{"a: 1\r\nb: 2\r\n", R"({"a": 1, "b": 2})"},
           Value{"{a: b}", R"({"a": "b"})"},  // looks like JSON and is YAML
       }) {
    EXPECT_EQ(one(value.yaml), json::parse(value.wanted)) << value.yaml;
  }
}

struct Refused {
  const char* text;
  std::size_t line;
  std::size_t column;
  const char* message;  // a part of it
};

TEST(Yaml, RefusesWithLineAndColumn) {
  for (const Refused& refused : {
           Refused{"a: 1\nb: 2\na: 3\n", 3, 1, "\"a\" is given twice (before in line 1)"},
           Refused{"x:\n  - {a: 1, b: 2, a: 3}\n", 2, 18, "given twice"},
           Refused{"yes: 1\n'true': 2\n", 2, 1, "given twice"},
           Refused{"x: &d {b: 1}\nz:\n  b: 2\n  <<: *d\n", 4, 3, "put << first"},
           Refused{"x: &d {b: 1}\nz:\n  <<: *d\n  <<: *d\n", 4, 3, "<< is given twice"},
           Refused{"<<: 1\n", 1, 1, "takes maps"},
           Refused{"<<: [1]\n", 1, 1, "takes maps"},
           Refused{"a: *nope\n", 1, 4, "anchor"},
           Refused{"a: &a [1, *a]\n", 1, 11, "own anchor"},
           Refused{"a: !foo b\n", 1, 4, "tag"},
           Refused{"a: !!int x\n", 1, 4, "tag"},
           Refused{"a: !!binary aGk=\n", 1, 4, "tag"},
           Refused{"a: !foo {}\n", 1, 4, "tag"},
           Refused{"a: .inf\n", 1, 4, "number"},
           Refused{"1.5: a\n", 1, 1, "key"},
           Refused{"~: a\n", 1, 1, "key"},
           Refused{"? [1]\n: a\n", 1, 3, "key"},
           Refused{"a: [1\n", 2, 1, ""},
           Refused{"a: 1\nb:\n  - x\n - y\n", 4, 2, ""},
           Refused{"a: b: c\n", 1, 5, ""},
           Refused{"a: \"\\q\"\n", 1, 7, "escape"},
           Refused{"a: `x\n", 1, 4, ""},

           Refused{"x: 1\n---\n{a: 1} {b: 2}\n", 3, 8, "---"},
           Refused{"a: 1\nb: \xFF\n", 2, 4, "UTF-8"},
           Refused{"{\"a\": 1,\n \"b\": 2,\n \"a\": 3}", 3, 4, "\"a\" is given twice"},
           Refused{"{\"a\": 1,\n \"b\": }]", 2, 7, "unexpected '}'"},
           Refused{"{\"a\": 1", 1, 8, "unexpected end"},
           Refused{"{\"a\": 1} x", 1, 10, "must begin here"},
       }) {
    const auto documents = read_documents(refused.text);
    ASSERT_FALSE(documents.has_value()) << refused.text << one(refused.text);
    EXPECT_EQ(documents.error().line, refused.line) << refused.text << documents.error().message;
    EXPECT_EQ(documents.error().column, refused.column)
        << refused.text << documents.error().message;
    EXPECT_NE(documents.error().message.find(refused.message), std::string::npos)
        << refused.text << documents.error().message;
    EXPECT_FALSE(documents.error().message.empty());
  }
  const auto binary = read_documents(std::string_view("a: 1\nb\0", 7));
  ASSERT_FALSE(binary.has_value());
  EXPECT_EQ(binary.error().line, 2U);
  EXPECT_EQ(binary.error().column, 2U);
}

// yaml-cpp reads nothing there, again and again.
TEST(Yaml, WhereNoValueCanBeginReadingEnds) {
  for (const char* text : {", [a2222]", ",", "a: 1\n---\n, b", "] x", "} x", "--- ,", "{}, x"}) {
    const auto documents = read_documents(text);
    ASSERT_FALSE(documents.has_value()) << text;
    EXPECT_FALSE(documents.error().message.empty()) << text;
  }
}

TEST(Yaml, SeveralDocumentsKeepTheirLines) {
  const auto documents =
      read_documents("# head\na: 1\n---\n---\n# none\n---\n\nb: 2\n--- \n~\n---\n- 3\n");
  ASSERT_TRUE(documents.has_value()) << documents.error().message;
  ASSERT_EQ(documents->size(), 3U);
  EXPECT_EQ((*documents)[0].line, 2U);
  EXPECT_EQ((*documents)[1].line, 8U);
  EXPECT_EQ((*documents)[2].line, 12U);
  EXPECT_EQ((*documents)[2].json, "[3]");
}

TEST(Yaml, ValuesLeftOutDoNotHideAMarker) {
  const auto documents =
      read_documents("a:\n---\nb:\n  - c:\n---\n- \n---\nd: 1\n...\n---\ne: 2\n");
  ASSERT_TRUE(documents.has_value()) << documents.error().message;
  ASSERT_EQ(documents->size(), 5U);
  EXPECT_EQ((*documents)[2].json, "[null]");
}

TEST(Yaml, NothingIsNoDocument) {
  for (const char* text :
       {"", "\n\n", "# only a comment\n", "---\n---\n", " \t\n", "null\n", "\xEF\xBB\xBF"}) {
    const auto documents = read_documents(text);
    ASSERT_TRUE(documents.has_value()) << text;
    EXPECT_TRUE(documents->empty()) << text;
  }
}

TEST(Yaml, AnEscapeThatIsNoUtf8IsAnError) {
  for (const char* text : {"a: \"\\N\"\n", "\"\\_\": 1\n"}) {
    const auto read = read_documents(text);
    ASSERT_FALSE(read) << text;
    EXPECT_NE(read.error().message.find("no UTF-8"), std::string::npos) << read.error().message;
  }
}

TEST(Json, AByteOrderMarkIsSkipped) {
  const auto read = read_json("\xEF\xBB\xBF[[1]]");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 1U);
  EXPECT_EQ(read->front().json, "[[1]]");
}

TEST(Json, SeveralValuesAfterEachOther) {
  const auto documents = read_documents("{\"a\": 1}\n\n{\"b\":\n 2}[3] null");
  ASSERT_FALSE(documents.has_value());
  const auto good = read_documents("{\"a\": 1}\n\n{\"b\":\n 2}[3]");
  ASSERT_TRUE(good.has_value()) << good.error().message;
  ASSERT_EQ(good->size(), 3U);
  EXPECT_EQ((*good)[0].json, R"({"a":1})");
  EXPECT_EQ((*good)[1].line, 3U);
  EXPECT_EQ((*good)[2].line, 4U);
}

TEST(Json, KeepsEveryKindOfValue) {
  for (const char* text :
       {R"({"a": [1, -2, 3.5, 1e3, true, false, null, "x\"\\\n\u0001é"], "b": {}, "c": []})",
        R"([[], {}, [{}], {"a": {"b": [[]]}}])", "\t{\n}\n", R"({"a": "\/"})",
        R"({"n": 18446744073709551615})", R"({"n": 100000000000000000000000})"}) {
    EXPECT_EQ(one(text), json::parse(text)) << text;
  }
}

TEST(Bounds, SizeDepthAndValues) {
  EXPECT_EQ(one(std::string(kMaxInput + 1, ' ')).get<std::string>().substr(0, 9), "error 1:1");
  for (const char* pair : {"[]", "{}"}) {
    const std::string open = pair[0] == '[' ? "[" : "{\"a\":";
    for (const std::string& head : {std::string(), std::string("x: ")}) {
      std::string good = head;
      std::string bad = head;
      for (int i = 0; i < 90; ++i)
        good += open;
      for (int i = 0; i < 150; ++i)
        bad += open;
      good += "1" + std::string(90, pair[1]);
      bad += "1" + std::string(150, pair[1]);
      EXPECT_TRUE(read_documents(good).has_value()) << good;
      const auto refused = read_documents(bad);
      ASSERT_FALSE(refused.has_value());
      EXPECT_NE(refused.error().message.find("nested deeper"), std::string::npos)
          << refused.error().message;
    }
  }
  EXPECT_FALSE(read_documents(std::string(1'000'000, '[')).has_value());
  EXPECT_FALSE(read_documents("x: " + std::string(1'000'000, '[')).has_value());
  std::string block;
  for (int i = 0; i < 1200; ++i)
    block += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  EXPECT_FALSE(read_documents(block).has_value());
}

TEST(Bounds, AliasBombs) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  std::string maps = "a0: &a0 {k: v}\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    const std::string head = "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    bomb += head;
    for (int j = 0; j < 10; ++j)
      bomb += (j > 0 ? ", " : "") + before;
    bomb += "]\n";
    maps += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " {<<: [";
    for (int j = 0; j < 10; ++j)
      maps += (j > 0 ? ", " : "") + before;
    maps += "]}\n";
  }
  for (const std::string& text : {bomb, maps}) {
    const auto refused = read_documents(text);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message.find("too large"), std::string::npos)
        << refused.error().message;
  }
  // Few values, many bytes.
  std::string wide = "a: &a " + std::string(1'000'000, 'x') + "\nb: [";
  for (int i = 0; i < 1000; ++i)
    wide += "*a, ";
  const auto refused = read_documents(wide + "*a]\n");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("too large"), std::string::npos)
      << refused.error().message;
}

}  // namespace
}  // namespace palisade::cli
