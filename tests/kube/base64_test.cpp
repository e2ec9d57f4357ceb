#include <gtest/gtest.h>

#include <kube/base64.h>

namespace kube {
namespace {

TEST(Base64, ThereAndBack) {
  for (const auto& [bytes, text] : {std::pair<std::string, std::string>{"", ""},
                                    {"f", "Zg=="},
                                    {"fo", "Zm8="},
                                    {"foo", "Zm9v"},
                                    {"foobar", "Zm9vYmFy"},
                                    {std::string("\0\xff\xfe", 3), "AP/+"}}) {
    EXPECT_EQ(encode_base64(bytes), text);
    EXPECT_EQ(decode_base64(text), bytes);
  }
}

TEST(Base64, NothingElseIsTaken) {
  for (const char* text : {"Zg", "Zg=", "Zg===", "====", "=Zg=", "Z=g=", "Zg==Zg==", " Zg==",
                           "Zg==\n", "Zm9v\n", "Zm-v", "Zm_v", "Zm9v "}) {
    EXPECT_FALSE(decode_base64(text)) << text;
  }
}

}  // namespace
}  // namespace kube
