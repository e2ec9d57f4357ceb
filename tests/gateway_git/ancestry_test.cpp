// Branches that go on to commits which the host has already, under another name.
#include "ancestry.h"

#include <gtest/gtest.h>

#include "gateway.h"
#include "packs.h"

namespace palisade::gateway::git::testing {
namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

Outcome push(const fs::path& work, const std::string& what, const Arguments& options = {}) {
  Arguments all = {"push"};
  all.insert(all.end(), options.begin(), options.end());
  all.emplace_back("origin");
  all.push_back(what + ":" + kBranchRef);
  return git(work, all);
}

nlohmann::json last(const Gateway& gateway) {
  const auto lines = gateway.record->lines(1);
  return lines.empty() ? nlohmann::json() : lines.back();
}

// The session has pushed; others have taken that into main, and gone on there.
class Ahead : public ::testing::TestWithParam<bool> {
 protected:
  Ahead() {
    const fs::path repository = gateway.base.path() / "host" / "repositories" / "app.git";
    if (GetParam()) git_text(repository, {"config", "uploadpack.allowFilter", "true"});
    commit(work, "one", "1");
    EXPECT_EQ(push(work, "HEAD").code, 0);
    begun = gateway.host.ref("refs/heads/main");
    git_text(repository, {"update-ref", "refs/heads/main", gateway.host.ref(kBranchRef)});
    for (int i = 0; i < 5; ++i)
      gateway.host.commit("refs/heads/main", "theirs", std::to_string(i));
    git_text(work, {"fetch", "-q", "origin"});
    gateway.record->clear();
  }

  Gateway gateway;
  const fs::path work = gateway.clone("work");
  std::string begun;  // where main was
};

TEST_P(Ahead, FastForwardsToThem) {
  const Outcome done = push(work, "origin/main");
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), gateway.host.ref("refs/heads/main"));
  EXPECT_EQ(last(gateway).value("ancestry", ""), "asked") << last(gateway);
  EXPECT_EQ(gateway.spooled_bytes(), 0U);
}

TEST_P(Ahead, GoesOnFromThem) {
  git_text(work, {"merge", "-q", "--ff-only", "origin/main"});
  const std::string tip = commit(work, "mine", "2");
  const Outcome done = push(work, "HEAD");
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), tip);
}

TEST_P(Ahead, IsNotSetBackByIt) {
  // To where main was before the session's commit, and to a commit that goes on from there.
  git_text(work, {"checkout", "-q", "-b", "back", begun});
  commit(work, "other", "3");
  const std::string before = gateway.host.refs();
  for (const std::string& what : {begun, std::string("back")}) {
    gateway.record->clear();
    const Outcome done = push(work, what, {"--force"});
    EXPECT_NE(done.code, 0);
    EXPECT_TRUE(has(done.err, "fast-forward")) << done.err;
    EXPECT_EQ(last(gateway).value("code", ""), "not_fast_forward") << last(gateway);
    EXPECT_EQ(gateway.host.refs(), before);
    EXPECT_EQ(gateway.spooled_bytes(), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(Filter, Ahead, ::testing::Bool(),
                         [](const auto& of) { return of.param ? "Allowed" : "Unknown"; });

ObjectId id(char digit) {
  return *parse_id(std::string(40, digit), ObjectFormat::kSha1);
}

TEST(Ancestry, WhatLeadsOutOfAPack) {
  Commits commits{{id('a'), {id('b'), id('c')}}, {id('b'), {id('d')}}, {id('c'), {id('d')}}};
  EXPECT_EQ(*outside(commits, id('a')), std::vector{id('d')});
  EXPECT_EQ(*outside(commits, id('e')), std::vector{id('e')});
  commits[id('d')] = {};
  EXPECT_TRUE(outside(commits, id('a'))->empty());
  for (std::size_t i = 0; i <= kMostOutside; ++i) {
    ObjectId one;
    one.bytes[0] = 1;
    one.bytes[1] = static_cast<unsigned char>(i / 256);
    one.bytes[2] = static_cast<unsigned char>(i % 256);
    commits[id('d')].push_back(one);
    EXPECT_EQ(outside(commits, id('a')).has_value(), i < kMostOutside);
  }
}

TEST(Ancestry, AsksForCommitsAlone) {
  EXPECT_EQ(ancestry_request(ObjectFormat::kSha1, {id('a'), id('b')}, id('c'), true),
            "0012command=fetch\n00010010no-progress\n0012filter tree:0\n0032want " +
                std::string(40, 'a') + "\n0032want " + std::string(40, 'b') + "\n0032have " +
                std::string(40, 'c') + "\n0009done\n0000");
  const std::string other = ancestry_request(ObjectFormat::kSha256, {}, ObjectId(), false);
  EXPECT_TRUE(has(other, "object-format=sha256\n0001")) << other;
  EXPECT_FALSE(has(other, "filter"));
}

TEST(Ancestry, TakesThePackOutOfItsAnswer) {
  const Pkt flush{PktKind::kFlush, {}};
  const Pkt delimiter{PktKind::kDelimiter, {}};
  const auto data = [](std::string_view text) { return Pkt{PktKind::kData, text}; };
  PackAnswer good;
  EXPECT_EQ(good.take(data("shallow-info\n")).value(), "");
  EXPECT_EQ(good.take(delimiter).value(), "");
  EXPECT_EQ(good.take(data("packfile\n")).value(), "");
  EXPECT_EQ(good.take(data("\2counting")).value(), "");
  EXPECT_EQ(good.take(data("\1PACK")).value(), "PACK");
  EXPECT_FALSE(good.complete());
  EXPECT_TRUE(good.take(flush));
  EXPECT_TRUE(good.complete());
  EXPECT_FALSE(good.take(data("\1more")));
  for (const auto& packets : {std::vector{data("ERR upload-pack: not our ref")},
                              {flush},
                              {data("packfile"), data("\3fatal")},
                              {data("packfile"), data("x")}}) {
    PackAnswer answer;
    bool failed = false;
    for (const Pkt& pkt : packets)
      failed = failed || !answer.take(pkt);
    EXPECT_TRUE(failed);
    EXPECT_FALSE(answer.complete());
  }
}

}  // namespace
}  // namespace palisade::gateway::git::testing
