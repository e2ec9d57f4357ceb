// What a pod that waited is told to run: a file that comes later.
#include "guard/await.h"

#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "guard/guarded.h"

namespace palisade::guard::testing {
namespace {

using namespace std::chrono_literals;

std::string write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

TEST(Await, WordsAreTakenAsTheyStand) {
  const Folder folder;
  const auto words = await_words(
      write(folder.path() + "/command.json", R"(["aider", "--message=a\nb", ""])"), 0ms);
  ASSERT_TRUE(words) << words.error();
  EXPECT_EQ(*words, (std::vector<std::string>{"aider", "--message=a\nb", ""}));
}

// As the kubelet brings it: whole, under another name before.
TEST(Await, AFileThatComesLaterIsWaitedFor) {
  const Folder folder;
  const std::string path = folder.path() + "/command.json";
  std::jthread kubelet([&] {
    std::this_thread::sleep_for(200ms);
    std::filesystem::rename(write(folder.path() + "/..data", R"(["aider"])"), path);
  });
  const auto words = await_words(path, 60s);
  ASSERT_TRUE(words) << words.error();
  EXPECT_EQ(*words, std::vector<std::string>{"aider"});
}

TEST(Await, OneThatDoesNotComeIsAnErrorThatNamesIt) {
  const Folder folder;
  const auto words = await_words(folder.path() + "/command.json", 50ms);
  ASSERT_FALSE(words);
  EXPECT_EQ(words.error(), folder.path() + "/command.json: was not there in time");
}

TEST(Await, WhatIsNoListOfWordsIsRefused) {
  const Folder folder;
  for (const std::string& text :
       {std::string(), std::string("{}"), std::string("[]"), std::string("[1]"),
        std::string(R"([""])"), std::string(R"(["a\u0000b"])"), std::string(R"(["a")"),
        std::string("\"aider\""), "[\"" + std::string((1 << 20) + 1, 'a') + "\"]"}) {
    const auto words = await_words(write(folder.path() + "/command.json", text), 0ms);
    ASSERT_FALSE(words) << text.substr(0, 40);
    EXPECT_NE(words.error().find("must be a JSON list of words"), std::string::npos);
  }
}

}  // namespace
}  // namespace palisade::guard::testing
