#include <gtest/gtest.h>

#include <policy/json_text.h>

namespace palisade::policy {
namespace {

TEST(JsonText, PointersPartsAreEscaped) {
  struct Case {
    const char* part;
    const char* escaped;
  };
  for (const auto& [part, escaped] :
       {Case{"spec", "/spec"}, Case{"", "/"}, Case{"a/b/c", "/a~1b~1c"}, Case{"~", "/~0"},
        Case{"~1", "/~01"}, Case{"palisade.dev/x~y", "/palisade.dev~1x~0y"}}) {
    std::string out = "/metadata";
    append_pointer_part(out, part);
    EXPECT_EQ(out, std::string("/metadata") + escaped);
  }
}

TEST(JsonText, StringsMoveNothingOnATerminal) {
  std::string out = "[";
  append_json(out, "a\"b\\c\n\x1b\x7f\xc3\xa4");
  EXPECT_EQ(out, "[\"a\\\"b\\\\c\\n\\u001b\\u007f\xc3\xa4\"");
}

}  // namespace
}  // namespace palisade::policy
