// Directories and positional files.
#include "cli/program.h"
#include "policy/fixture.h"

namespace palisade::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using policy::testing::good_pod;
using testing::has;

class Sources : public testing::ProgramTest {
 protected:
  static std::string pod(const std::string& name) {
    json object = good_pod();
    object["metadata"]["name"] = name;
    return object.dump();
  }
  // The names of the checked pods in the order in which they are told.
  std::vector<std::string> names(const std::string& arguments) const {
    const auto result = run("check -o json " + arguments);
    EXPECT_EQ(result.status, 0) << result.out << result.err;
    std::vector<std::string> out;
    const json document = json::parse(result.out);
    for (const json& one : document.at("pods"))
      out.push_back(one.at("name"));
    return out;
  }
};

using Names = std::vector<std::string>;

TEST_F(Sources, DirectoriesAreReadWholeAndInOrder) {
  write("m/b.yaml", pod("b"));
  write("m/a.json", pod("a"));
  write("m/sub/deep/c.yml", pod("c"));
  write("m/z.yaml", pod("z"));
  write("m/ignored.txt", "not: [yaml");
  write("m/no-extension", "not: [yaml");
  EXPECT_EQ(names("m"), (Names{"a", "b", "c", "z"}));
  EXPECT_EQ(names("-f m"), (Names{"a", "b", "c", "z"}));
  EXPECT_EQ(names("-f m/z.yaml m/sub m/a.json"), (Names{"z", "c", "a"}));
  const auto text = run("check m");
  EXPECT_TRUE(has(text.out, "m/sub/deep/c.yml:1: Pod team-a/c ")) << text.out;
}

TEST_F(Sources, NamedFilesAreReadWhateverTheirNames) {
  write("pod.txt", pod("a"));
  EXPECT_EQ(names("pod.txt"), Names{"a"});
}

TEST_F(Sources, LinksAreFollowedOnce) {
  write("m/a.yaml", pod("a"));
  write("elsewhere/b.yaml", pod("b"));
  fs::create_directory_symlink(folder_ / "elsewhere", folder_ / "m/link");
  fs::create_directory_symlink(folder_ / "m", folder_ / "m/loop");
  fs::create_directory_symlink(folder_ / "m", folder_ / "elsewhere/back");
  fs::create_symlink(folder_ / "m/a.yaml", folder_ / "m/c.yaml");
  EXPECT_EQ(names("m"), (Names{"a", "a", "b"}));
}

TEST_F(Sources, WhatCannotBeReadIsSaidAndTheRestIsChecked) {
  write("m/a.yaml", pod("a"));
  fs::create_symlink(folder_ / "m/self.yaml", folder_ / "m/self.yaml");
  fs::create_symlink(folder_ / "nowhere.yaml", folder_ / "m/gone.yaml");
  ASSERT_EQ(::mkfifo((folder_ / "m/pipe.yaml").c_str(), 0600), 0);
  const auto result = run("check m");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.out, "Pod team-a/a")) << result.out;
  EXPECT_TRUE(has(result.err, "m/self.yaml: cannot be read: ")) << result.err;
  EXPECT_TRUE(has(result.err, "m/gone.yaml: cannot be ")) << result.err;
  EXPECT_TRUE(has(result.err, "m/pipe.yaml: cannot be read: it is no regular file")) << result.err;
}

TEST_F(Sources, ADirectoryWithoutManifestsIsAnError) {
  fs::create_directories(folder_ / "empty/more");
  const auto result = run("check empty");
  EXPECT_EQ(result.status, 2);
  EXPECT_EQ(result.err, "empty: holds no .yaml, .yml or .json file\n");
}

TEST_F(Sources, OtherYamlOfADirectoryIsPassedOverButBrokenYamlIsNot) {
  write("m/a.yaml", pod("a"));
  write("m/values.yaml", "replicas: 2\n");
  write("m/list.yaml", "[1, 2]\n");
  write("m/empty.yaml", "# nothing\n");
  auto result = run("check m");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(has(result.out, "2 documents without kind and apiVersion passed over")) << result.out;
  // Named by itself it is refused, and so is what only half is an object.
  EXPECT_EQ(run("check m/values.yaml").status, 2);
  write("m/half.yaml", "kind: Pod\nspec: {}\n");
  result = run("check m");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "m/half.yaml:1:1: ")) << result.err;
}

TEST_F(Sources, NamesOfFilesCannotMoveTheCursor) {
  write("m/\x1b[2Jx.yaml", pod("a"));
  write("m/\x1b[2Jbad.yaml", "a: [");
  const auto result = run("check m");
  EXPECT_EQ(result.status, 2);
  EXPECT_FALSE(has(result.out + result.err, "\x1b")) << result.out;
}

}  // namespace
}  // namespace palisade::cli
