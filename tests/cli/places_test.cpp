// Lines and columns of values, in YAML and in JSON.
#include <gtest/gtest.h>

#include "yaml_json.h"

namespace palisade::cli {
namespace {

struct Case {
  const char* path;
  std::size_t line;
  std::size_t column;
};

void expect(const std::vector<Document>& documents, std::size_t which,
            std::initializer_list<Case> cases) {
  for (const Case& item : cases) {
    const Place place = documents.at(which).places.find(item.path);
    EXPECT_EQ(place.line, item.line) << item.path;
    EXPECT_EQ(place.column, item.column) << item.path;
  }
}

TEST(Places, OfYaml) {
  const auto documents = read_documents(R"(---
spec:
  a: 1
  list:
    - x
    - name: y
      b.c/d: {e: 2}
  ? long
  : 3
---
one: &x {two: {three: 4}}
more: *x
merged:
  <<: *x
  own: 1
)");
  ASSERT_TRUE(documents);
  ASSERT_EQ(documents->size(), 2U);
  expect(*documents, 0,
         {{"", 2, 1},
          {"spec", 2, 1},
          {"spec.a", 3, 3},
          {"spec.a.b.c", 3, 3},
          {"spec.list[0]", 5, 7},
          {"spec.list[1].name", 6, 7},
          {"spec.list[1][\"b.c/d\"]", 7, 7},
          {"spec.list[1][\"b.c/d\"].e", 7, 15},
          {"spec.list[2]", 4, 3},
          {"spec.absent[4].x", 2, 1},
          {"spec.lis", 2, 1},
          {"(the pod)", 2, 1}});
  expect(
      *documents, 1,
      {{"more", 12, 1}, {"more.two.three", 11, 16}, {"merged.two", 14, 3}, {"merged.own", 15, 3}});
}

TEST(Places, OfJson) {
  const auto documents = read_documents(
      "{\"a\": 1,\n \"b\": [10, \"x\\\"y\\\\\",\n   {\"c\\u0041\": true}],"
      " \"\xC3\xA4\xC3\xB6\": {\"d\": 2}}\n  {\"e\":\n[\n1\n]}");
  ASSERT_TRUE(documents);
  ASSERT_EQ(documents->size(), 2U);
  expect(*documents, 0,
         {{"", 1, 1},
          {"a", 1, 2},
          {"b", 2, 2},
          {"b[1]", 2, 12},
          {"b[2]", 3, 4},
          {"b[2].cA", 3, 5},
          {"[\"\xC3\xA4\xC3\xB6\"].d", 3, 31}});
  EXPECT_EQ(documents->at(0).places.find("b[0]").line, 2U);
  expect(*documents, 1, {{"", 4, 3}, {"e", 4, 4}});
  EXPECT_EQ(documents->at(1).line, 4U);
}

// A number is read one byte beyond its end.
TEST(Places, OfNumbersInJsonLists) {
  const auto documents = read_documents("[\n1,\n22\n,333]");
  ASSERT_TRUE(documents);
  EXPECT_EQ(documents->at(0).places.find("[0]").line, 2U);
  EXPECT_EQ(documents->at(0).places.find("[1]").line, 3U);
  EXPECT_EQ(documents->at(0).places.find("[2]").line, 4U);
}

TEST(Places, HostilePathsAndDocumentsAreHarmless) {
  const auto documents = read_documents("{\"\": {\"[0]\": [[[]]]}, \"a\\u0000b\": 1}");
  ASSERT_TRUE(documents);
  for (const char* path : {"[", "[]", "[99999999999999999999]", "[-1]", "[\"", ".", "..", "[0", "]",
                           "[\"\"][\"[0]\"][0][0][0][0]"}) {
    EXPECT_EQ(documents->at(0).places.find(path).line, 1U) << path;
  }
}

}  // namespace
}  // namespace palisade::cli
