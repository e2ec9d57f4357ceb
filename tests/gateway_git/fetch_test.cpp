// Fetches of real git clients through the proxy.
#include <gtest/gtest.h>

#include "gateway.h"
#include "packs.h"

namespace palisade::gateway::git::testing {
namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

TEST(Fetch, ClonesWithEveryVersionOfTheProtocol) {
  Gateway gateway;
  const std::string main = gateway.host.ref("refs/heads/main");
  for (const char* version : {"0", "1", "2"}) {
    gateway.record->clear();
    const fs::path out = gateway.base.path() / (std::string("clone-") + version);
    const Outcome done = git(gateway.base.path(), {"-c", std::string("protocol.version=") + version,
                                                   "clone", "-q", gateway.url(), out});
    EXPECT_EQ(done.code, 0) << version << ": " << done.err;
    EXPECT_EQ(git_text(out, {"rev-parse", "HEAD"}), main);
    EXPECT_EQ(git_text(out, {"fsck", "--full"}), "");
    const auto lines = gateway.record->lines(version[0] == '2' ? 3 : 2);
    ASSERT_EQ(lines.size(), version[0] == '2' ? 3U : 2U) << version;
    for (const auto& line : lines) {
      EXPECT_EQ(line.at("kind"), "git");
      EXPECT_EQ(line.at("verdict"), "allowed") << line;
      EXPECT_EQ(line.at("status"), 200);
      EXPECT_EQ(line.at("command"), "fetch");
      EXPECT_EQ(line.at("service"), "git-upload-pack");
      EXPECT_EQ(line.at("namespace"), "team");
      EXPECT_EQ(line.at("workspace"), "fix");
      EXPECT_EQ(line.at("repository"), gateway.grant.url);
      EXPECT_FALSE(has(line.dump(), kToken));
    }
  }
  for (const auto& request : gateway.host.requests())
    EXPECT_TRUE(request.at("authorized")) << request;
}

TEST(Fetch, ShallowPartialTagsAndMore) {
  Gateway gateway;
  const fs::path repository = gateway.host.repository();
  for (const char* name : {"uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"})
    git_text(repository, {"config", name, "true"});
  // Some megabytes, annotated tags, and so many branches that git deflates what it asks for.
  const fs::path work = gateway.base.path() / "author";
  git_text(gateway.base.path(), {"clone", "-q", repository, work});
  for (int i = 0; i < 60; ++i) {
    git_text(work, {"checkout", "-q", "-b", "b" + std::to_string(i)});
    commit(work, "file" + std::to_string(i),
           noise(i < 4 ? 1'000'000 : 1000, static_cast<std::uint32_t>(i)));
  }
  git_text(work, {"tag", "-a", "-m", "a release", "v1"});
  git_text(work, {"push", "-q", "origin", "--all"});
  git_text(work, {"push", "-q", "origin", "v1"});
  const std::string tip = git_text(work, {"rev-parse", "HEAD"});

  for (const char* version : {"0", "2"}) {
    const std::string protocol = std::string("protocol.version=") + version;
    const fs::path whole = gateway.base.path() / (std::string("whole-") + version);
    gateway.record->clear();
    const Outcome cloned =
        git(gateway.base.path(), {"-c", protocol, "clone", "-q", gateway.url(), whole});
    ASSERT_EQ(cloned.code, 0) << cloned.err;
    EXPECT_EQ(git_text(whole, {"rev-parse", "origin/b59"}), tip);
    EXPECT_EQ(git_text(whole, {"cat-file", "-t", "v1"}), "tag");
    EXPECT_EQ(git_text(whole, {"fsck", "--full"}), "");
    const auto lines = gateway.record->lines(2);
    EXPECT_GT(lines.back().at("replyBytes"), 4'000'000);
    EXPECT_LT(lines.back().at("requestBytes"), 60 * 50) << "what came was not compressed";

    const fs::path shallow = gateway.base.path() / (std::string("shallow-") + version);
    const Outcome one = git(gateway.base.path(), {"-c", protocol, "clone", "-q", "--depth", "1",
                                                  "-b", "b59", gateway.url(), shallow});
    ASSERT_EQ(one.code, 0) << one.err;
    EXPECT_EQ(git_text(shallow, {"rev-list", "--count", "HEAD"}), "1");
    const Outcome deeper = git(shallow, {"-c", protocol, "fetch", "-q", "--unshallow"});
    EXPECT_EQ(deeper.code, 0) << deeper.err;
    EXPECT_EQ(git_text(shallow, {"rev-list", "--count", "HEAD"}), "62");
  }
  const fs::path partial = gateway.base.path() / "partial";
  const Outcome filtered = git(gateway.base.path(), {"clone", "-q", "--filter=blob:none",
                                                     "--no-checkout", gateway.url(), partial});
  ASSERT_EQ(filtered.code, 0) << filtered.err;
  EXPECT_EQ(git_text(partial, {"cat-file", "-t", tip + ":file1"}), "blob")
      << "fetched when asked for";
}

TEST(Fetch, AnEmptyRepositoryAndOneOfSha256) {
  Gateway gateway;
  gateway.repository("empty");
  gateway.use("empty");
  const Outcome empty = git(gateway.base.path(), {"clone", "-q", gateway.url(), "empty"});
  EXPECT_EQ(empty.code, 0) << empty.err;
  const fs::path repository = gateway.repository("new", {"--object-format=sha256"});
  const fs::path work = gateway.base.path() / "sha256";
  git_text(gateway.base.path(), {"init", "-q", "--object-format=sha256", work});
  const std::string tip = commit(work, "file", "text");
  git_text(work, {"push", "-q", repository, "HEAD:refs/heads/main"});
  gateway.use("new");
  const Outcome cloned = git(gateway.base.path(), {"clone", "-q", gateway.url(), "long"});
  EXPECT_EQ(cloned.code, 0) << cloned.err;
  EXPECT_EQ(git_text(gateway.base.path() / "long", {"rev-parse", "HEAD"}), tip);
}

struct Refused {
  const char* name;
  std::function<void(Gateway&)> arrange;
  const char* shown;
  const char* code;
};

TEST(Fetch, WhatDoesNotWorkIsSaid) {
  const std::vector<Refused> cases = {
      {"a token that is none", [](Gateway& g) { g.keys->set({"wrong"}); },
       "remote: palisade: 127.0.0.1 refuses the workspace's token (401): check "
       "spec.repository.credentials",
       "token_refused"},
      {"no token", [](Gateway& g) { g.keys->set({std::nullopt}); },
       "remote: palisade: 127.0.0.1 asks for credentials and the workspace has none",
       "token_missing"},
      {"no such repository", [](Gateway& g) { g.use("other"); },
       "remote: palisade: 127.0.0.1 answered 404: there is no such repository", "not_found"},
      {"a redirect", [](Gateway& g) { g.grant.url = g.host.url("redirect"); },
       "remote: palisade: 127.0.0.1 redirects to another address of 127.0.0.1; redirects are not "
       "followed",
       "redirect"},
      {"a host that plays the token back", [](Gateway& g) { g.grant.url = g.host.url("echo"); },
       "remote: palisade: 127.0.0.1 answered 403: the workspace's token may not do this",
       "host_forbids"},
      {"nobody there", [](Gateway& g) { g.grant.url = "https://127.0.0.1:1/app.git"; },
       "remote: palisade: 127.0.0.1 cannot be reached", "host_unreachable"},
      {"a name that the certificate has not",
       [](Gateway& g) { g.grant.url.replace(8, 9, "localhost"); },
       "remote: palisade: localhost has no certificate that the gateway trusts",
       "host_not_trusted"},
      {"http", [](Gateway& g) { g.grant.url.replace(0, 5, "http"); },
       "remote: palisade: the workspace's spec.repository.url must begin with https://",
       "bad_grant"},
  };
  for (const Refused& refused : cases) {
    Gateway gateway;
    refused.arrange(gateway);
    const Outcome done = git(gateway.base.path(), {"clone", "-q", gateway.url(), "out"});
    EXPECT_NE(done.code, 0) << refused.name;
    EXPECT_TRUE(has(done.err, refused.shown)) << refused.name << ": " << done.err;
    EXPECT_FALSE(has(done.err, kToken)) << refused.name;
    const auto lines = gateway.record->lines(1);
    ASSERT_EQ(lines.size(), 1U) << refused.name;
    EXPECT_EQ(lines[0].at("code"), refused.code) << refused.name;
    EXPECT_FALSE(has(lines[0].dump(), kToken)) << refused.name;
    EXPECT_NE(lines[0].at("verdict"), "allowed") << refused.name;
  }
}

TEST(Fetch, ATokenThatWasRotatedIsTriedOnceMore) {
  Gateway gateway;
  gateway.keys->set({"the old one", kToken});
  Outcome done = git(gateway.base.path(), {"clone", "-q", gateway.url(), "one"});
  EXPECT_EQ(done.code, 0) << done.err;
  // The one it began with is refused, and so is the newest: twice asked, no more.
  gateway.keys->set({"one", "two", "three"});
  const auto before = gateway.host.requests().size();
  done = git(gateway.base.path(), {"ls-remote", gateway.url()});
  EXPECT_NE(done.code, 0);
  EXPECT_EQ(gateway.host.requests().size(), before + 2);
  // A fetch's POST too, whole.
  git_text(gateway.base.path(), {"init", "-q", "again"});
  gateway.keys->set({kToken, "old", kToken});
  done = git(gateway.base.path() / "again",
             {"-c", "protocol.version=0", "fetch", "-q", gateway.url(), "main"});
  EXPECT_EQ(done.code, 0) << done.err;
}

TEST(Fetch, ErrorsOfThePostAreShownToo) {
  Gateway gateway;
  for (const char* version : {"0", "2"}) {
    const fs::path work = gateway.base.path() / version;
    git_text(gateway.base.path(), {"init", "-q", work});
    gateway.keys->set({kToken, "gone"});
    const Outcome done = git(
        work, {"-c", std::string("protocol.version=") + version, "fetch", gateway.url(), "main"});
    EXPECT_NE(done.code, 0);
    EXPECT_TRUE(has(done.err, "palisade: 127.0.0.1 refuses the workspace's token (401)"))
        << done.err;
  }
}

TEST(Fetch, OnlyWhatGitAsksIsAnswered) {
  Gateway gateway;
  struct Case {
    const char* request;
    const char* status;
    const char* said;
  };
  for (const Case& c : {
           Case{"GET /git/info/refs", "403", "smart HTTP"},
           Case{"GET /git/info/refs?service=git-upload-archive", "403", "smart HTTP"},
           Case{"GET /git/info/refs?service=git-upload-pack&x=1", "403", "smart HTTP"},
           Case{"GET /git/HEAD", "404", "only fetches and pushes"},
           Case{"GET /git/objects/info/packs", "404", "only fetches and pushes"},
           Case{"GET /git/../x/info/refs?service=git-upload-pack", "404",
                "only fetches and pushes"},
           Case{"GET /git/info/lfs/objects/batch", "404", "only fetches and pushes"},
           Case{"POST /git/info/refs?service=git-upload-pack", "405", "must be GET"},
           Case{"GET /git/git-upload-pack", "405", "must be POST"},
           Case{"POST /git/git-upload-pack?x", "400", "a query"},
           Case{"POST /git/git-upload-pack", "415", "Content-Type"},
           Case{"POST /git/git-receive-pack", "415", "Content-Type"},
       }) {
    const Gateway::Wire wire(gateway.port());
    wire.send(std::string(c.request) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    const std::string answer = wire.read();
    EXPECT_TRUE(answer.starts_with(std::string("HTTP/1.1 ") + c.status))
        << c.request << ": " << answer;
    EXPECT_TRUE(has(answer, std::string("palisade: ")) && has(answer, c.said))
        << c.request << ": " << answer;
  }
  EXPECT_TRUE(gateway.host.requests().empty()) << "nothing of it reached the host";
}

TEST(Fetch, HostileRequestsEnd) {
  Gateway gateway;
  struct Case {
    const char* name;
    std::string body;
    std::string fields;
    const char* said;
  };
  const std::string bomb = gzip(std::string(100U << 20U, '0'));
  for (const Case& c : {
           Case{"no packets", "hello there", "", "a packet's length is not four hex digits"},
           Case{"a length past its bound", "ffff", "", "a packet's length is 65535"},
           Case{"cut", "0032want", "", "the request is cut"},
           Case{"cut gzip", gzip("0000").substr(0, 10), "Content-Encoding: gzip\r\n",
                "compressed body is cut"},
           Case{"more behind", gzip("0000") + gzip("0000"), "", "something follows"},
       }) {
    const std::string answer = gateway.post("git-upload-pack", c.body, c.fields);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << c.name << ": " << answer;
    EXPECT_TRUE(has(answer, "ERR palisade: ") && has(answer, c.said)) << c.name << ": " << answer;
  }
  EXPECT_TRUE(
      has(gateway.post("git-upload-pack", "0000", "Content-Encoding: br\r\n"), "HTTP/1.1 415"));
  EXPECT_TRUE(gateway.host.requests().empty()) << "nothing of it reached the host";
  // This one is on its way to the host when it turns out what it is.
  for (const char* field : {"", "Content-Encoding: gzip\r\n"}) {
    const std::string answer = gateway.post("git-upload-pack", bomb, field);
    EXPECT_TRUE(has(answer, "ERR palisade: ") && has(answer, "inflates to more than")) << answer;
  }
}

TEST(Fetch, AnAnswerPastTheBoundIsCut) {
  GitConfig config;
  config.max_fetch_bytes = 100'000;
  Gateway gateway(config);
  const fs::path work = gateway.base.path() / "author";
  git_text(gateway.base.path(), {"clone", "-q", gateway.host.repository(), work});
  commit(work, "large", noise(1'000'000, 1));
  git_text(work, {"push", "-q", "origin", "HEAD:refs/heads/main"});
  const Outcome done = git(gateway.base.path(), {"clone", "-q", gateway.url(), "out"});
  EXPECT_NE(done.code, 0);
  const auto lines = gateway.record->lines(3);
  EXPECT_EQ(lines.back().at("code"), "reply_too_large") << lines.back();
}

}  // namespace
}  // namespace palisade::gateway::git::testing
