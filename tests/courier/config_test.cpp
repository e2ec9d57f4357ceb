#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <courier/config.h>

#include "process.h"

namespace palisade::courier::testing {
namespace {

using nlohmann::json;

json good() {
  return {{"url", "https://git.example.com/team/app.git"},
          {"ref", "main"},
          {"branch", "palisade/fix-login"},
          {"access", "ReadWrite"},
          {"username", "x-access-token"},
          {"tokenFile", "/var/run/secrets/palisade/git/token"},
          {"caFile", "/etc/palisade/git-ca.pem"},
          {"repository", "/var/lib/courier/repo.git"},
          {"bundle", "/seed/repo.bundle"},
          {"workspace", "/workspace/repo"},
          {"home", "/workspace/.home"},
          {"terminationLog", "/dev/termination-log"},
          {"pollSeconds", 2},
          {"maxPackBytes", 536870912}};
}

std::expected<Config, std::string> load(const std::string& text) {
  const Directory directory;
  write_file(directory.path() / "courier.json", text);
  return load_config(directory.path() / "courier.json");
}

TEST(Config, IsReadWhole) {
  const auto config = load(good().dump());
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->url, "https://git.example.com/team/app.git");
  EXPECT_EQ(config->ref, "main");
  EXPECT_EQ(config->branch, "palisade/fix-login");
  EXPECT_FALSE(config->read_only);
  EXPECT_EQ(config->username, "x-access-token");
  EXPECT_EQ(config->token_file, "/var/run/secrets/palisade/git/token");
  EXPECT_EQ(config->ca_file, "/etc/palisade/git-ca.pem");
  EXPECT_EQ(config->repository, "/var/lib/courier/repo.git");
  EXPECT_EQ(config->bundle, "/seed/repo.bundle");
  EXPECT_EQ(config->workspace, "/workspace/repo");
  EXPECT_EQ(config->home, "/workspace/.home");
  EXPECT_EQ(config->termination_log, "/dev/termination-log");
  EXPECT_EQ(config->poll_seconds, 2);
  EXPECT_EQ(config->settle_seconds, 10);
  EXPECT_EQ(config->max_pack_bytes, 536870912);
}

TEST(Config, ReadOnlyNeedsNoToken) {
  json config = good();
  config["access"] = "ReadOnly";
  config["username"] = config["tokenFile"] = config["caFile"] = "";
  const auto loaded = load(config.dump());
  ASSERT_TRUE(loaded) << loaded.error();
  EXPECT_TRUE(loaded->read_only);
  EXPECT_TRUE(loaded->token_file.empty());
}

TEST(Config, WithoutAMountItIsReadWrite) {
  EXPECT_EQ(load(good().dump())->mount, Mount::kReadWrite);
  json config = good();
  config["mount"] = "ReadWrite";
  EXPECT_EQ(load(config.dump())->mount, Mount::kReadWrite);
  config["mount"] = "GitDirOnly";
  EXPECT_EQ(load(config.dump())->mount, Mount::kGitDirOnly);
  for (const json& wrong : {json("Everything"), json(""), json(1), json(nullptr)}) {
    config["mount"] = wrong;
    ASSERT_FALSE(load(config.dump())) << wrong;
    EXPECT_NE(load(config.dump()).error().find("mount "), std::string::npos);
  }
}

TEST(Config, ReadOnlyMountsNeedAllThatGoesWithThem) {
  json config = good();
  config["mount"] = "ReadOnly";
  const json more{{"gitDir", "/workspace/.home/repo.git"},
                  {"output", "/palisade/output"},
                  {"outputDir", "docs/reports"}};
  config.update(more);
  const auto loaded = load(config.dump());
  ASSERT_TRUE(loaded) << loaded.error();
  EXPECT_EQ(loaded->mount, Mount::kReadOnly);
  EXPECT_EQ(loaded->git_dir, "/workspace/.home/repo.git");
  EXPECT_EQ(loaded->output, "/palisade/output");
  EXPECT_EQ(loaded->output_dir, "docs/reports");
  for (const auto& [name, value] : more.items()) {
    json broken = config;
    broken.erase(name);
    ASSERT_FALSE(load(broken.dump())) << name;
    EXPECT_NE(load(broken.dump()).error().find(name + " "), std::string::npos);
  }
  for (const char* wrong : {"", "/etc", "../x", "a/../b", "a/./b", "a//b", "a/", ".git", "a/.git",
                            "-a", "a b", "a\nb", "\xc3\xbc", "a/-b", ":(top)a"}) {
    config["outputDir"] = wrong;
    ASSERT_FALSE(load(config.dump())) << wrong;
    EXPECT_NE(load(config.dump()).error().find("outputDir "), std::string::npos) << wrong;
  }
}

TEST(Config, WithoutTlsThereIsOnlyTheRelayAndItGetsNoToken) {
  json config = good();
  EXPECT_FALSE(load(config.dump())->through_relay);
  config["url"] = "http://127.0.0.1:4001/git";
  EXPECT_NE(load(config.dump()).error().find("tokenFile "), std::string::npos);
  config["username"] = config["tokenFile"] = config["caFile"] = "";
  const auto loaded = load(config.dump());
  ASSERT_TRUE(loaded) << loaded.error();
  EXPECT_TRUE(loaded->through_relay);
  EXPECT_FALSE(loaded->read_only);
}

TEST(Config, AMissingFieldIsNamed) {
  const json whole = good();
  for (const auto& [field, value] : whole.items()) {
    json config = good();
    config.erase(field);
    const auto loaded = load(config.dump());
    ASSERT_FALSE(loaded) << field;
    EXPECT_NE(loaded.error().find(field + " "), std::string::npos) << loaded.error();
  }
}

TEST(Config, AFieldOfAnotherTypeIsNamed) {
  const json whole = good();
  for (const auto& [field, value] : whole.items()) {
    for (const json& wrong :
         {json(nullptr), json::array(), json::object(), json(true), json(1.5)}) {
      json config = good();
      config[field] = wrong;
      const auto loaded = load(config.dump());
      ASSERT_FALSE(loaded) << field << " = " << wrong;
      EXPECT_NE(loaded.error().find(field + " "), std::string::npos) << loaded.error();
    }
  }
}

struct Wrong {
  const char* field;
  json value;
};

TEST(Config, AValueThatCannotBeRightIsNamed) {
  const std::vector<Wrong> table = {
      {"url", "http://git.example.com/app.git"},
      {"url", "ext::sh -c payload"},
      {"url", "file:///var/lib/courier"},
      {"url", "ssh://git@git.example.com/app.git"},
      {"url", "https://user:secret@git.example.com/app.git"},
      {"url", "http://git.example.com/team/app.git"},
      {"url", "http://127.0.0.1/git"},
      {"url", "http://127.0.0.1:/git"},
      {"url", "http://127.0.0.1:4001"},
      {"url", "http://127.0.0.1:4001/"},
      {"url", "http://127.0.0.1:400100/git"},
      {"url", "http://127.0.0.1:4001@evil.example.com/git"},
      {"url", "http://127.0.0.1:4001x/git"},
      {"url", "http://127.0.0.1:\\evil/git"},
      {"url", "http://127.0.0.11:4001/git"},
      {"url", "http://localhost:4001/git"},
      {"url", "HTTP://127.0.0.1:4001/git"},
      {"url", "https://git.example.com/app.git\nhttps://other.example.com"},
      {"url", "--upload-pack=payload"},
      {"url", "https://"},
      {"url", "https:///app.git"},
      {"ref", ""},
      {"ref", "-main"},
      {"ref", "ma in"},
      {"ref", "main:other"},
      {"ref", "main*"},
      {"ref", "+main"},
      {"ref", "a..b"},
      {"ref", "main\n"},
      {"ref", std::string("ma\0in", 5)},
      {"branch", ""},
      {"branch", "--all"},
      {"branch", "work:refs/heads/main"},
      {"branch", "wo*rk"},
      {"branch", "work~1"},
      {"branch", "work^"},
      {"branch", "work?"},
      {"branch", "wo[rk"},
      {"branch", "wo\\rk"},
      {"branch", "../../config"},
      {"branch", "a//b"},
      {"branch", "/a"},
      {"branch", "a/"},
      {"branch", ".hidden"},
      {"branch", "a/.b"},
      {"branch", "a.lock"},
      {"branch", "a.lock/b"},
      {"branch", "a."},
      {"branch", "a@{1}"},
      {"branch", "@"},
      {"branch", "HEAD"},
      {"branch", "a\x7f"},
      {"branch", std::string(300, 'a')},
      {"branch", "main"},  // the ref itself
      {"access", "readwrite"},
      {"access", ""},
      {"username", "bot\npassword=x"},
      {"tokenFile", "token"},
      {"repository", "repo.git"},
      {"bundle", "-"},
      {"workspace", "workspace/repo"},
      {"home", "~"},
      {"terminationLog", ""},
      {"pollSeconds", 0},
      {"pollSeconds", -1},
      {"pollSeconds", 3601},
      {"settleSeconds", -1},
      {"settleSeconds", "10"},
      {"finalSeconds", 0},
      {"finalSeconds", 3601},
      {"maxPackBytes", 0},
      {"maxPackBytes", -5},
  };
  for (const Wrong& wrong : table) {
    json config = good();
    config[wrong.field] = wrong.value;
    const auto loaded = load(config.dump());
    ASSERT_FALSE(loaded) << wrong.field << " = " << wrong.value;
    EXPECT_NE(loaded.error().find(std::string(wrong.field) + " "), std::string::npos)
        << wrong.value << ": " << loaded.error();
  }
}

TEST(Config, OrdinaryBranchNamesPass) {
  for (const char* name :
       {"palisade/fix-login", "a", "feature/x_y.z", "fix#12", "a@b", "ünïcode"}) {
    json config = good();
    config["branch"] = name;
    const auto loaded = load(config.dump());
    EXPECT_TRUE(loaded) << name << ": " << loaded.error();
  }
}

TEST(Config, TextThatIsNoObjectIsRefused) {
  for (const char* text : {"", "null", "[]", "{", "{}{}", "\xff\xfe"}) {
    EXPECT_FALSE(load(text)) << text;
  }
  EXPECT_FALSE(load_config("/nonexistent/courier.json"));
}

TEST(Config, AnErrorOfTheProgramNamesTheFieldAndExitsWithTwo) {
  const Directory directory;
  json config = good();
  config["url"] = "http://git.example.com/app.git";
  write_file(directory.path() / "courier.json", config.dump());
  for (const char* verb : {"serve", "checkout", "ready"}) {
    const Outcome outcome =
        run({PALISADE_COURIER, verb, "--config", directory.path() / "courier.json"});
    EXPECT_EQ(outcome.code, 2) << verb;
    EXPECT_NE(outcome.err.find("url "), std::string::npos) << outcome.err;
  }
}

}  // namespace
}  // namespace palisade::courier::testing
