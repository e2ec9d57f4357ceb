// Pushes of real git clients through the proxy.
#include <gtest/gtest.h>

#include "gateway.h"
#include "packs.h"

namespace palisade::gateway::git::testing {
namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

const std::string kTarget = std::string("HEAD:") + kBranchRef;

Outcome push(const fs::path& work, const Arguments& options = {},
             const Arguments& refs = {kTarget}) {
  Arguments all = {"push"};
  all.insert(all.end(), options.begin(), options.end());
  all.emplace_back("origin");
  all.insert(all.end(), refs.begin(), refs.end());
  return git(work, all);
}

nlohmann::json last(const Gateway& gateway) {
  const auto lines = gateway.record->lines(1);
  return lines.empty() ? nlohmann::json() : lines.back();
}

// The push failed, the user was told so in both places, and the host has what it had.
void expect_refused(Gateway& gateway, const Outcome& done, const char* code,
                    std::string_view reason, const std::string& refs_before) {
  EXPECT_NE(done.code, 0) << code;
  EXPECT_TRUE(has(done.err, "remote: palisade: ")) << code << ": " << done.err;
  EXPECT_TRUE(has(done.err, "[remote rejected]")) << code << ": " << done.err;
  EXPECT_TRUE(has(done.err, "(palisade: ")) << code << ": " << done.err;
  EXPECT_TRUE(has(done.err, reason)) << code << ": " << done.err;
  const auto line = last(gateway);
  EXPECT_EQ(line.value("code", ""), code) << line;
  EXPECT_EQ(line.value("verdict", ""), "refused") << line;
  EXPECT_EQ(line.value("command", ""), "push");
  EXPECT_EQ(gateway.host.refs(), refs_before) << code;
  EXPECT_EQ(gateway.spooled_bytes(), 0U) << code;
  for (const std::string& asked : gateway.asked())
    EXPECT_FALSE(has(asked, "POST /git/app.git/git-receive-pack"))
        << code << ": it reached the host";
}

TEST(Push, TheBranchIsMadeAndGoesOn) {
  for (const char* version : {"0", "1", "2"}) {
    Gateway gateway;
    const fs::path work = gateway.clone("work");
    git_text(work, {"config", "protocol.version", version});
    const std::string first = commit(work, "one", "1");
    gateway.record->clear();
    Outcome done = push(work);
    ASSERT_EQ(done.code, 0) << version << ": " << done.err;
    EXPECT_EQ(gateway.host.ref(kBranchRef), first);
    auto line = last(gateway);
    EXPECT_EQ(line.at("verdict"), "allowed") << line;
    EXPECT_EQ(line.at("ref"), kBranchRef);
    EXPECT_EQ(line.at("old"), std::string(40, '0'));
    EXPECT_EQ(line.at("new"), first);
    EXPECT_GT(line.at("packBytes"), 32);
    EXPECT_EQ(line.at("objects"), 3);
    EXPECT_EQ(gateway.record->lines().front().at("request"), "refs");

    for (int i = 0; i < 5; ++i)
      commit(work, "one", std::to_string(i) + noise(2000, 1));
    const std::string last_commit = git_text(work, {"rev-parse", "HEAD"});
    done = push(work, {"--atomic"});
    ASSERT_EQ(done.code, 0) << done.err;
    EXPECT_EQ(gateway.host.ref(kBranchRef), last_commit);
    EXPECT_EQ(last(gateway).at("old"), first);
    // Nothing new: git does not even push.
    done = push(work);
    EXPECT_EQ(done.code, 0);
    EXPECT_TRUE(has(done.err, "Everything up-to-date")) << done.err;
    EXPECT_EQ(gateway.spooled_bytes(), 0U);
  }
}

TEST(Push, MergesAndWhatTheHostHasAlready) {
  Gateway gateway;
  const fs::path work = gateway.clone("work");
  commit(work, "one", "1");
  ASSERT_EQ(push(work).code, 0);
  // Someone else goes on with main; the session merges that.
  gateway.host.commit("refs/heads/main", "two", "2");
  git_text(work, {"fetch", "-q", "origin"});
  git_text(work, {"merge", "-q", "--no-ff", "-m", "Merge main", "origin/main"});
  Outcome done = push(work);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), git_text(work, {"rev-parse", "HEAD"}));
  // A new branch at a commit that the host has: the pack is empty.
  gateway.grant.branch = "other";
  done = push(work, {}, {"origin/main:refs/heads/other"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.host.ref("refs/heads/other"), gateway.host.ref("refs/heads/main"));
  EXPECT_EQ(last(gateway).at("objects"), 0);
}

TEST(Push, TheFirstOfAnEmptyRepositoryAndSha256) {
  Gateway gateway;
  const fs::path empty = gateway.repository("empty");
  gateway.use("empty");
  fs::path work = gateway.work("work");
  std::string tip = commit(work, "one", "1");
  Outcome done = push(work);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(git_text(empty, {"rev-parse", kBranchRef}), tip);

  const fs::path longer = gateway.repository("longer", {"--object-format=sha256"});
  gateway.use("longer");
  work = gateway.base.path() / "sha256";
  git_text(gateway.base.path(), {"init", "-q", "--object-format=sha256", work});
  git_text(work, {"remote", "add", "origin", gateway.url()});
  for (int i = 0; i < 2; ++i) {
    tip = commit(work, "one", std::to_string(i));
    done = push(work);
    EXPECT_EQ(done.code, 0) << done.err;
    EXPECT_EQ(git_text(longer, {"rev-parse", kBranchRef}), tip);
  }
}

TEST(Push, ALargeOneComesInChunks) {
  Gateway gateway;
  const fs::path work = gateway.clone("work");
  for (int i = 0; i < 6; ++i)
    commit(work, "large" + std::to_string(i), noise(1'000'000, static_cast<std::uint32_t>(i)));
  gateway.record->clear();
  const Outcome done = push(work);  // above http.postBuffer: git asks first, then sends chunks
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), git_text(work, {"rev-parse", "HEAD"}));
  const auto lines = gateway.record->lines(3);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[1].at("requestBytes"), 4);
  EXPECT_EQ(lines[1].at("verdict"), "allowed");
  EXPECT_GT(lines[2].at("packBytes"), 6'000'000);
  EXPECT_EQ(gateway.spooled_bytes(), 0U);
  EXPECT_TRUE(fs::is_empty(gateway.spool));
}

struct Refused {
  const char* name;
  std::function<Outcome(const fs::path&)> push;
  const char* code;
  const char* reason;
};

TEST(Push, WhatMayNotBeIsRefusedInWordsThatGitShows) {
  Gateway gateway;
  git_text(gateway.host.repository(), {"config", "receive.advertisePushOptions", "true"});
  const fs::path work = gateway.clone("work");
  const std::string main = git_text(work, {"rev-parse", "HEAD"});
  // The branch is there, put by other means than the gateway.
  commit(work, "one", "1");
  git_text(work, {"push", "-q", gateway.host.repository(), kTarget});
  git_text(work, {"fetch", "-q", "origin"});
  const std::string tip = commit(work, "two", "2");
  git_text(work, {"tag", "v0"});
  git_text(work, {"tag", "-a", "-m", "a release", "v1"});
  const std::string refs = gateway.host.refs();

  const std::vector<Refused> cases = {
      {"another branch", [](const fs::path& w) { return push(w, {}, {"HEAD:refs/heads/other"}); },
       "other_ref",
       "only the branch palisade/fix may be pushed: git push origin HEAD:refs/heads/palisade/fix"},
      {"main", [](const fs::path& w) { return push(w, {}, {"HEAD:refs/heads/main"}); }, "other_ref",
       "only the branch"},
      {"main, forced",
       [](const fs::path& w) { return push(w, {"--force"}, {"HEAD:refs/heads/main"}); },
       "other_ref", "only the branch"},
      {"a tag", [](const fs::path& w) { return push(w, {}, {"refs/tags/v0"}); }, "tag",
       "tags may not be pushed"},
      {"an annotated tag", [](const fs::path& w) { return push(w, {}, {"refs/tags/v1"}); }, "tag",
       "tags may not be pushed"},
      {"a tag beside the branch", [](const fs::path& w) { return push(w, {"--follow-tags"}); },
       "tag", "tags may not be pushed"},
      {"two branches",
       [](const fs::path& w) {
         return push(w, {}, {kTarget, "HEAD:refs/heads/two"});
       },
       "other_ref", "only the branch"},
      {"two branches, atomic",
       [](const fs::path& w) {
         return push(w, {"--atomic"}, {kTarget, "HEAD:refs/heads/two"});
       },
       "other_ref", "only the branch"},
      {"a deletion", [](const fs::path& w) { return push(w, {"--delete"}, {kBranch}); }, "deletion",
       "branches and tags may not be deleted through the gateway"},
      {"everything, as it is here",
       [](const fs::path& w) {
         return git(w, {"push", "--mirror", "origin"});
       },
       "deletion", "may not be deleted"},
      {"a review", [](const fs::path& w) { return push(w, {}, {"HEAD:refs/for/main"}); },
       "other_ref", "only the branch"},
      {"a force",
       [&](const fs::path& w) { return push(w, {"--force"}, {main + ":" + kBranchRef}); },
       "not_fast_forward", "cannot be shown to be a fast-forward"},
      {"a force with a lease",
       [](const fs::path& w) {
         git_text(w, {"checkout", "-q", "--orphan", "alone"});
         commit(w, "three", "3");
         const Outcome done = push(w, {"--force-with-lease"}, {std::string("HEAD:") + kBranchRef});
         git_text(w, {"checkout", "-q", kBranch});
         return done;
       },
       "not_fast_forward", "git fetch, then git merge --no-ff"},
      {"a branch moved to a commit of another",
       [&](const fs::path& w) {
         const std::string theirs = gateway.host.ref("refs/heads/main");
         return push(w, {"--force"}, {theirs + ":" + kBranchRef});
       },
       "not_fast_forward", "to a commit of another branch"},
  };
  for (const Refused& refused : cases) {
    SCOPED_TRACE(refused.name);
    gateway.record->clear();
    expect_refused(gateway, refused.push(work), refused.code, refused.reason, refs);
  }
  gateway.record->clear();
  // What the host would offer is not offered: git itself says no.
  Outcome done = push(work, {"-o", "ci.skip"});
  EXPECT_NE(done.code, 0);
  EXPECT_TRUE(has(done.err, "does not support push options")) << done.err;
  done = push(work, {"--signed"});
  EXPECT_NE(done.code, 0);
  EXPECT_TRUE(has(done.err, "does not support --signed push")) << done.err;
  EXPECT_EQ(gateway.host.refs(), refs);
  // And all the while the branch itself may be pushed.
  done = push(work, {"--signed=if-asked"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), tip);
}

TEST(Push, FromAShallowClone) {
  Gateway gateway;
  const fs::path work = gateway.base.path() / "shallow";
  git_text(gateway.base.path(), {"clone", "-q", "--depth", "1", gateway.url(), work});
  commit(work, "one", "1");
  const std::string refs = gateway.host.refs();
  gateway.record->clear();
  expect_refused(gateway, push(work), "shallow", "git fetch --unshallow", refs);
  git_text(work, {"fetch", "-q", "--unshallow"});
  const Outcome done = push(work);
  EXPECT_EQ(done.code, 0) << done.err;
}

TEST(Push, ReadOnly) {
  Gateway gateway;
  const fs::path work = gateway.clone("work");
  commit(work, "one", "1");
  gateway.grant.read_only = true;
  const Outcome done = push(work);
  EXPECT_NE(done.code, 0);
  EXPECT_TRUE(has(done.err, "remote: palisade: this workspace may only read its repository"))
      << done.err;
  EXPECT_EQ(last(gateway).at("code"), "read_only");
  EXPECT_EQ(gateway.host.ref(kBranchRef), "");
}

TEST(Push, TheHostsOwnWord) {
  Gateway gateway;
  const fs::path work = gateway.clone("work");
  const std::string tip = commit(work, "one", "1");
  gateway.host.hook("pre-receive", "echo the door is shut >&2; exit 1");
  Outcome done = push(work);
  EXPECT_NE(done.code, 0);
  EXPECT_TRUE(has(done.err, "remote: the door is shut")) << done.err;
  EXPECT_TRUE(has(done.err, "(pre-receive hook declined)")) << done.err;
  const auto line = last(gateway);
  EXPECT_EQ(line.at("code"), "host_refused") << line;
  EXPECT_TRUE(has(line.at("reason").get<std::string>(), "pre-receive hook declined")) << line;
  gateway.host.hook("pre-receive", "echo come in >&2; exit 0");
  done = push(work);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(has(done.err, "remote: come in")) << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), tip);
}

TEST(Push, ATokenThatRotatesInBetween) {
  Gateway gateway;
  const fs::path work = gateway.clone("work");
  const std::string first = commit(work, "one", "1");
  // The push began with a token that the host refuses by now: once more with the newest, whole.
  // Asked for at its beginning and when it was refused.
  gateway.keys->set({kToken, "the old one", kToken});
  Outcome done = push(work);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), first);
  // It began with one that still holds: the newer one is not looked at.
  commit(work, "one", "2");
  gateway.keys->set({kToken, kToken, "too new"});
  const int asked = gateway.keys->asked();
  done = push(work);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.keys->asked(), asked + 2) << "once for each request";
  // Rotated while the host was about it.
  gateway.keys->set({kToken});
  const fs::path credentials = gateway.base.path() / "host" / "credentials";
  gateway.host.hook("pre-receive",
                    "echo '" + std::string(kUser) + ":newer' > '" + credentials.string() + "'");
  const std::string third = commit(work, "one", "3");
  done = push(work);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), third);
  // None of them works any more.
  gateway.host.set_token("newest");
  gateway.keys->set({"a", "b", "c", "d"});
  commit(work, "one", "4");
  done = push(work);
  EXPECT_NE(done.code, 0);
  EXPECT_TRUE(has(done.err, "remote: palisade: 127.0.0.1 refuses the workspace's token (401)"))
      << done.err;
  EXPECT_EQ(gateway.host.ref(kBranchRef), third);
  for (const auto& line : gateway.record->lines())
    EXPECT_FALSE(has(line.dump(), kToken));
}

TEST(Push, TooLargeIsSaidNotCut) {
  GitConfig config;
  config.max_pack_bytes = 1'000'000;
  Gateway gateway(config);
  const fs::path work = gateway.clone("work");
  commit(work, "large", noise(3'000'000, 1));
  const std::string refs = gateway.host.refs();
  gateway.record->clear();
  expect_refused(gateway, push(work), "pack_too_large", "the pack is larger than 1000000 bytes",
                 refs);
  // With a Content-Length too.
  gateway.record->clear();
  expect_refused(gateway, git(work, {"-c", "http.postBuffer=8000000", "push", "origin", kTarget}),
                 "pack_too_large", "the pack is larger than 1000000 bytes", refs);
  // What counts is what is sent.
  git_text(work, {"reset", "-q", "--hard", "HEAD~1"});
  commit(work, "small", std::string(3'000'000, 'x'));
  const Outcome done = push(work);
  EXPECT_EQ(done.code, 0) << done.err;
}

TEST(Push, NoRoomIsSaid) {
  {
    GitConfig config;
    config.max_spool_bytes = 1'000'000;
    Gateway gateway(config);
    const fs::path work = gateway.clone("work");
    commit(work, "large", noise(2'000'000, 1));
    const Outcome done = push(work);
    EXPECT_NE(done.code, 0);
    EXPECT_TRUE(has(done.err, "remote: palisade: the gateway has no room for this pack now"))
        << done.err;
    EXPECT_EQ(last(gateway).at("code"), "spool_full");
    EXPECT_EQ(last(gateway).at("verdict"), "failed");
    EXPECT_EQ(gateway.spooled_bytes(), 0U);
    EXPECT_EQ(gateway.host.ref(kBranchRef), "");
  }
  GitConfig config;
  config.spool = "/nonexistent/spool";
  Gateway gateway(config);
  const fs::path work = gateway.clone("work");
  commit(work, "one", "1");
  const Outcome done = push(work);
  EXPECT_NE(done.code, 0);
  EXPECT_TRUE(has(
      done.err, "remote: palisade: the gateway cannot keep this pack (No such file or directory)"))
      << done.err;
}

TEST(Push, AtATimeOneOfSeveralSessionsMovesTheBranch) {
  Gateway gateway;
  const fs::path one = gateway.clone("one");
  const fs::path two = gateway.clone("two");
  commit(one, "one", "1");
  ASSERT_EQ(push(one).code, 0);
  commit(two, "two", "2");
  // It knows of no branch: what it says of the old tip is not so. With --force git says the truth.
  Outcome done = push(two);
  EXPECT_NE(done.code, 0);
  EXPECT_TRUE(has(done.err, "rejected")) << done.err;
  const std::string refs = gateway.host.refs();
  git_text(two, {"fetch", "-q", "origin"});
  git_text(two, {"merge", "-q", "-m", "Merge", std::string("origin/") + kBranch});
  done = push(two);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_NE(gateway.host.refs(), refs);
}

}  // namespace
}  // namespace palisade::gateway::git::testing
