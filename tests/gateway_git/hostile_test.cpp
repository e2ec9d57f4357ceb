// Clients that are no git, hosts that are none, and connections that break.
#include <thread>

#include <gtest/gtest.h>

#include "gateway.h"
#include "packs.h"
#include "pkt_line.h"
#include "report.h"

namespace palisade::gateway::git::testing {
namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

const std::string kZero(40, '0');
constexpr std::string_view kCapabilities = "report-status side-band-64k";

std::string command(std::string_view old_id, std::string_view new_id,
                    std::string_view capabilities = kCapabilities,
                    std::string_view ref = kBranchRef) {
  std::string line = std::string(old_id) + ' ' + std::string(new_id) + ' ' + std::string(ref);
  line += '\0';
  line += capabilities;
  return pkt(line) + "0000";
}

bool reached(const Gateway& gateway) {
  for (const std::string& asked : gateway.asked()) {
    if (has(asked, "POST /git/app.git/git-receive-pack")) return true;
  }
  return false;
}

struct Case {
  const char* name;
  std::string body;
  const char* code;
  const char* said;
};

TEST(Hostile, PacksThatAreNone) {
  Gateway gateway;
  const std::string tip = commit("tip");
  const std::string id = hex(id_of("commit", tip), ObjectFormat::kSha1);
  PackWriter sound;
  sound.object(1, tip);
  PackWriter thin;
  thin.object(1, tip);
  thin.id_delta(id_of("blob", "elsewhere"), delta("elsewhere", "else"));
  PackWriter bomb;
  const std::string zeros(100U << 20U, '\0');
  const std::string deflated = deflate(zeros);
  for (int i = 0; i < 8; ++i)
    bomb.entry(3, zeros.size(), deflated);
  PackWriter lies;
  lies.entry(3, 10, deflate("not ten, but more than that"));
  std::string flipped = sound.bytes();
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  const std::string refs = gateway.host.refs();
  for (const Case& c : {
           Case{"thin", command(kZero, id) + thin.bytes(), "thin_pack", "the pack is thin"},
           Case{"a bomb", command(kZero, id) + bomb.bytes(), "pack_too_large",
                "inflates to too much for its size"},
           Case{"a lie", command(kZero, id) + lies.bytes(), "bad_pack",
                "inflates to more than 10 bytes"},
           Case{"another sum", command(kZero, id) + flipped, "bad_pack", "sum"},
           Case{"more behind", command(kZero, id) + sound.bytes() + "x", "bad_pack",
                "something follows"},
           Case{"four billion objects", command(kZero, id) + sound.bytes(0xFFFFFFFF),
                "pack_too_large", "4294967295 objects"},
           Case{"no pack", command(kZero, id), "bad_pack", "cut"},
           Case{"half a pack", command(kZero, id) + sound.bytes().substr(0, 40), "bad_pack",
                "more objects than it has room for"},
           Case{"no commands", "0000" + sound.bytes(), "several_refs", "exactly one branch"},
           Case{"packets that are none", "zzzz", "bad_commands", "four hex digits"},
           Case{"a packet of three", "0003", "bad_commands", "length is 3"},
           Case{"cut commands", command(kZero, id).substr(0, 90), "bad_commands", "cut"},
           Case{"a stale tip", command(id, id) + sound.bytes(), "moved",
                "not where this push says it is"},
           Case{"another format",
                command(kZero + std::string(24, '0'), std::string(64, 'a'),
                        "report-status object-format=sha256") +
                    PackWriter(ObjectFormat::kSha256).bytes(),
                "object_format", "of object format sha1"},
           Case{"a tip that is nowhere", command(kZero, std::string(40, 'd')) + sound.bytes(),
                "unknown_tip", "does not hold"},
           Case{"a push option",
                command(kZero, id, "report-status push-options") + pkt("ci.skip") + "0000" +
                    sound.bytes(),
                "push_option", "push options"},
           Case{"no report asked for",
                command(kZero, id, "agent=x", "refs/heads/main") + sound.bytes(), "other_ref",
                "HTTP/1.1 403"},
       }) {
    gateway.record->clear();
    const std::string answer = gateway.post("git-receive-pack", c.body);
    EXPECT_TRUE(has(answer, "palisade: ") && has(answer, c.said)) << c.name << ": " << answer;
    const auto lines = gateway.record->lines(1);
    ASSERT_EQ(lines.size(), 1U);
    EXPECT_EQ(lines[0].at("code"), c.code) << c.name << ": " << lines[0];
    EXPECT_EQ(gateway.spooled_bytes(), 0U) << c.name;
  }
  EXPECT_FALSE(reached(gateway));
  EXPECT_EQ(gateway.host.refs(), refs);
  // And one that is sound.
  const std::string answer = gateway.post("git-receive-pack", command(kZero, id) + sound.bytes());
  EXPECT_TRUE(has(answer, "ok refs/heads/palisade/fix")) << answer;
  EXPECT_EQ(gateway.record->lines().back().at("verdict"), "allowed");
  EXPECT_EQ(gateway.host.ref(kBranchRef), id);
}

TEST(Hostile, AListWithoutEndEnds) {
  GitConfig config;
  config.max_pack_bytes = 1U << 20U;
  Gateway gateway(config);
  const Gateway::Wire wire(gateway.port());
  ASSERT_TRUE(
      wire.send("POST /git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: "
                "application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked\r\n\r\n"));
  // Until the gateway has had enough of it.
  const std::string packet = pkt("shallow " + std::string(40, 'a') + "\n");
  std::string many;
  for (int i = 0; i < 1000; ++i)
    many += packet;
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", many.size());
  const std::string chunk = size + many + "\r\n";
  std::size_t sent = 0;
  while (sent < (256U << 20U) && wire.send(chunk))
    sent += chunk.size();
  EXPECT_LT(sent, 256U << 20U) << "it was read without end";
  const auto lines = gateway.record->lines(1);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].at("code"), "too_many_commands");
  EXPECT_FALSE(reached(gateway));
}

TEST(Hostile, CutAtAnyPlaceNothingHappens) {
  Gateway gateway;
  const std::string tip = commit("tip");
  PackWriter pack;
  pack.object(1, tip);
  pack.object(3, noise(600'000, 1));
  const std::string body =
      command(kZero, hex(id_of("commit", tip), ObjectFormat::kSha1)) + pack.bytes();
  const std::string refs = gateway.host.refs();
  std::size_t requests = 0;
  for (const std::size_t length : {std::size_t{0}, std::size_t{2}, std::size_t{60},
                                   std::size_t{200}, std::size_t{300'000}, body.size() - 1}) {
    for (const bool reset : {false, true}) {
      {
        Gateway::Wire wire(gateway.port());
        wire.send(
            "POST /git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: "
            "application/x-git-receive-pack-request\r\nContent-Length: " +
            std::to_string(body.size()) + "\r\n\r\n");
        wire.send(std::string_view(body).substr(0, length));
        if (reset) wire.cut();
      }
      const auto lines = gateway.record->lines(++requests);
      ASSERT_EQ(lines.size(), requests) << length;
      EXPECT_EQ(lines.back().at("verdict"), "failed") << lines.back();
      EXPECT_EQ(lines.back().at("code"), "client_gone") << length << ": " << lines.back();
    }
  }
  EXPECT_FALSE(reached(gateway));
  EXPECT_EQ(gateway.host.refs(), refs);
  EXPECT_TRUE(courier::testing::eventually([&] { return gateway.spooled_bytes() == 0; }));
}

TEST(Hostile, SlowOnesAreEndedAndTheOthersAreServed) {
  GitConfig config;
  config.idle_timeout = std::chrono::seconds(5);  // the fixture's server then waits a second
  Gateway gateway(config);
  std::vector<std::unique_ptr<Gateway::Wire>> slow;
  for (int i = 0; i < 20; ++i) {
    slow.push_back(std::make_unique<Gateway::Wire>(gateway.port()));
    slow.back()->send(
        "POST /git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: "
        "application/x-git-receive-pack-request\r\nContent-Length: 100000\r\n\r\n00");
  }
  const Outcome done = git(gateway.base.path(), {"clone", "-q", gateway.url(), "out"});
  EXPECT_EQ(done.code, 0) << done.err;
  for (const auto& wire : slow)
    (void)wire->read();
  const auto lines = gateway.record->lines(23);
  int ended = 0;
  for (const auto& line : lines)
    ended += line.at("code") == "client_slow" ? 1 : 0;
  EXPECT_EQ(ended, 20);
}

TEST(Hostile, AWorkspaceHasTwoPushesAtATime) {
  Gateway gateway;
  const std::string id = hex(id_of("commit", "x"), ObjectFormat::kSha1);
  const auto begin = [&] {
    auto wire = std::make_unique<Gateway::Wire>(gateway.port());
    wire->send(
        "POST /git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Type: "
        "application/x-git-receive-pack-request\r\nContent-Length: 1000000\r\n\r\n" +
        command(kZero, id) + std::string(300'000, 'P'));
    return wire;
  };
  auto one = begin();
  auto two = begin();
  ASSERT_TRUE(courier::testing::eventually([&] { return gateway.spooled_bytes() >= 2 * 262'144; }));
  const std::string answer =
      gateway.post("git-receive-pack", command(kZero, id) + PackWriter().bytes());
  EXPECT_TRUE(has(answer, "this workspace has other pushes under way")) << answer;
  EXPECT_TRUE(has(answer, "ng refs/heads/palisade/fix")) << answer;
  one.reset();
  two.reset();
  ASSERT_TRUE(courier::testing::eventually([&] { return gateway.spooled_bytes() == 0; }));
  const std::string next = gateway.post("git-receive-pack", command(kZero, id) + "PACK");
  EXPECT_FALSE(has(next, "other pushes")) << next;
}

// ---- hosts

// A host of the test's own making, behind the same certificate.
class FakeHost {
 public:
  FakeHost(Gateway& gateway, Handler handler) {
    ServerOptions options;
    options.address = "127.0.0.1";
    options.tls = ServingIdentity{read_file(gateway.host.certificate()),
                                  read_file(gateway.host.certificate().parent_path() / "key.pem")};
    server_ = std::make_unique<Server>(options, std::move(handler));
    if (!server_->start()) throw std::runtime_error("the fake host");
    gateway.grant.url = "https://127.0.0.1:" + std::to_string(server_->port()) + "/app.git";
  }

 private:
  std::unique_ptr<Server> server_;
};

Fields typed(std::string type) {
  Fields out;
  out.add("Content-Type", std::move(type));
  return out;
}

const std::string kRefs =
    pkt("# service=git-receive-pack\n") + "0000" +
    pkt(kZero + std::string(" capabilities^{}\0report-status side-band-64k", 44)) + "0000";

TEST(Hostile, HostsThatAreNone) {
  struct Host {
    const char* name;
    int status;
    std::string type;
    std::string body;
    const char* field;
    const char* said;
  };
  Gateway gateway;
  const fs::path work = gateway.work("work");
  commit(work, "one", "1");
  const std::string advertisement = "application/x-git-receive-pack-advertisement";
  for (const Host& host : {
           Host{"a dumb one", 200, "text/plain", kZero + "\trefs/heads/main\n", "",
                "does not speak git's smart HTTP"},
           Host{"a page", 200, "text/html", "<html>", "", "does not speak git's smart HTTP"},
           Host{"another service's answer", 200, "application/x-git-upload-pack-advertisement",
                kRefs, "", "does not speak git's smart HTTP"},
           Host{"nothing", 204, "", "", "", "answered 204"},
           Host{"no packets", 200, advertisement, "hello", "", "list of refs cannot be read"},
           Host{"a cut list", 200, advertisement, kRefs.substr(0, kRefs.size() - 4), "", ""},
           Host{"a redirect", 301, "", "", "https://thief.example.com:8443/x",
                "redirects to the host thief.example.com, which is not the workspace's"},
           Host{"a redirect that is none", 302, "", "", "https://<script>/x",
                "redirects to another address; redirects are not followed"},
           Host{"one that is overloaded", 503, "", "", "", "answered 503; try again later"},
           Host{"one that fails", 500, "text/plain", "internal", "", "answered 500"},
       }) {
    gateway.record->clear();
    const FakeHost fake(gateway, [host](Exchange& exchange) -> Task<void> {
      Fields fields = typed(host.type);
      if (*host.field != '\0') fields.add("Location", host.field);
      (void)co_await exchange.reply(host.status, std::move(fields), host.body);
    });
    const Outcome done = git(work, {"push", "origin", std::string("HEAD:") + kBranchRef});
    EXPECT_NE(done.code, 0) << host.name;
    EXPECT_TRUE(has(done.err, host.said)) << host.name << ": " << done.err;
    EXPECT_FALSE(has(done.err, kToken)) << host.name;
    EXPECT_NE(gateway.record->lines(1).back().at("verdict"), "allowed") << host.name;
  }
}

TEST(Hostile, AHostThatNeverAnswers) {
  GitConfig config;
  config.idle_timeout = std::chrono::seconds(1);
  Gateway gateway(config);
  gateway.grant.url = gateway.host.url("stall");
  {
    const Gateway::Wire wire(gateway.port());
    wire.send("GET /git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(courier::testing::eventually([&] { return gateway.host.requests().size() == 1; }));
  }
  auto lines = gateway.record->lines(1);
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0].at("code"), "client_gone") << "whoever waits for it has gone: " << lines[0];
  const Outcome done = git(gateway.base.path(), {"ls-remote", gateway.url()});
  EXPECT_NE(done.code, 0);
  EXPECT_TRUE(has(done.err, "remote: palisade: 127.0.0.1 did not answer in time")) << done.err;
  lines = gateway.record->lines(2);
  EXPECT_EQ(lines.back().at("code"), "host_slow");
  EXPECT_EQ(lines.back().at("status"), 504);
}

TEST(Hostile, AHostThatEndsInTheMiddle) {
  Gateway gateway;
  std::atomic<int> pushes{0};
  const FakeHost fake(gateway, [&pushes](Exchange& exchange) -> Task<void> {
    const bool refs = exchange.request().method == "GET";
    Fields fields = typed(refs ? "application/x-git-receive-pack-advertisement"
                               : "application/x-git-receive-pack-result");
    if (refs) {
      (void)co_await exchange.reply(200, std::move(fields), kRefs);
      co_return;
    }
    ++pushes;
    (void)co_await exchange.read_all(1U << 20U);
    const std::string half = side_band('\2', "working\n") + "00";
    (void)co_await exchange.begin(200, std::move(fields), std::nullopt);
    (void)co_await exchange.write(half);
  });
  const fs::path work = gateway.work("work");
  commit(work, "one", "1");
  const Outcome done = git(work, {"push", "origin", std::string("HEAD:") + kBranchRef});
  EXPECT_NE(done.code, 0) << "the user must not take it for done";
  const auto line = gateway.record->lines(2).back();
  EXPECT_EQ(line.at("verdict"), "failed") << line;
  EXPECT_EQ(line.at("code"), "host_closed") << line;
  EXPECT_EQ(pushes, 1) << "a push is never sent twice";
}

TEST(Hostile, AClientThatGoesWhileTheHostWorksIsOnRecordWithTheHostsWord) {
  Gateway gateway;
  const fs::path work = gateway.clone("work");
  const std::string tip = commit(work, "one", "1");
  const fs::path begun = gateway.base.path() / "begun";
  gateway.host.hook("pre-receive", "touch '" + begun.string() +
                                       "'; for i in $(seq 100); do [ -e '" + begun.string() +
                                       ".go' ] && exit 0; sleep 0.1; done");
  gateway.record->clear();
  {
    const fs::path out = gateway.base.path() / "out";
    courier::testing::Process::Options options;
    options.directory = work;
    options.out = options.err = out;
    options.environment.emplace_back("HOME=" + gateway.base.path().string());
    courier::testing::Process client(
        {"git", "push", "-q", "origin", std::string("HEAD:") + kBranchRef}, options);
    ASSERT_TRUE(courier::testing::eventually([&] { return fs::exists(begun); })) << read_file(out);
  }  // killed
  write_file(begun.string() + ".go", "");
  const auto lines = gateway.record->lines(2);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines.back().at("verdict"), "allowed") << lines.back();
  EXPECT_EQ(gateway.host.ref(kBranchRef), tip);
}

}  // namespace
}  // namespace palisade::gateway::git::testing
