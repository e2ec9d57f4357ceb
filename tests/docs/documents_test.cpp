// What can be said of the documents' blocks without running any of them.
#include "docs/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace palisade::docs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::vector<std::string>> words(const std::string& language, const std::string& text) {
  Block block;
  block.language = language;
  block.text = text;
  std::vector<std::vector<std::string>> out;
  for (const Command& command : commands_of(block))
    out.push_back(command.words);
  return out;
}

TEST(Commands, OfALine) {
  using Words = std::vector<std::string>;
  struct Case {
    std::string text;
    std::vector<Words> commands;
  };
  for (const Case& one : std::vector<Case>{
           {"palisade list -A   # all of them\n", {{"palisade", "list", "-A"}}},
           {"helm install x \\\n  --set 'a={b}'\n", {{"helm", "install", "x", "--set", "a={b}"}}},
           {"A=1 make all\n", {{"make", "all"}}},
           {"a --b=\"c d\" > out.txt && e\n", {{"a", "--b=c d"}, {"e"}}},
           {"a | b -f -\n", {{"a"}, {"b", "-f", "-"}}},
           {"a 'b\n", {{}}},
           {"# nothing\n\n", {}},
       }) {
    EXPECT_EQ(words("sh", one.text), one.commands) << one.text;
  }
}

TEST(Commands, OfAConsoleAreBehindThePrompt) {
  EXPECT_EQ(words("console", "$ a \\\n    b\nwhat it prints\n$ c\n"),
            (std::vector<std::vector<std::string>>{{"a", "b"}, {"c"}}));
}

TEST(Commands, APipeIsMarked) {
  Block block;
  block.language = "sh";
  block.text = "a | b; c\n";
  const auto all = commands_of(block);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_FALSE(all[0].piped);
  EXPECT_TRUE(all[1].piped);
  EXPECT_FALSE(all[2].piped);
}

TEST(ReadDocument, BlocksWithWhatIsSaidOfThem) {
  const Document document = read_document(
      "docs/x.md",
      "text\n<!-- not run: it needs a registry -->\n```sh\nskopeo copy\n```\n\n"
      "<!-- part of: values gateway -->\n```yaml\na: 1\n```\n  ```sh\n  make x\n  ```\n\n"
      "    kubectl get x\n    helm list y\n    words of a picture\n");
  EXPECT_THAT(document.errors, ElementsAre());
  ASSERT_EQ(document.blocks.size(), 4U);
  EXPECT_EQ(document.blocks[0].not_run, "it needs a registry");
  EXPECT_EQ(document.blocks[0].place(), "docs/x.md:3");
  EXPECT_EQ(document.blocks[1].part_of, "values gateway");
  EXPECT_EQ(document.blocks[2].text, "make x\n");
  EXPECT_EQ(document.blocks[2].not_run, "");
  EXPECT_EQ(document.blocks[3].language, "indented");
  EXPECT_EQ(document.blocks[3].text, "kubectl get x\nhelm list y\n");
}

TEST(ReadDocument, WhatIsLeftOpen) {
  EXPECT_THAT(read_document("x", "```sh\na\n").errors, ElementsAre(HasSubstr("not closed")));
  EXPECT_THAT(read_document("x", "<!-- not run: why -->\ntext\n").errors,
              ElementsAre(HasSubstr("no block follows")));
}

}  // namespace
}  // namespace palisade::docs::testing
