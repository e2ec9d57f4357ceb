// The relay's side: what guard writes gets there whole, whatever becomes of the gateway meanwhile,
// and by no way that the agent has.
#include "shipper.h"

#include <gateway/relay/relay.h>
#include <gmock/gmock.h>

#include "gateway_archive/fixture.h"

namespace palisade::gateway::archive::testing {
namespace {

using namespace std::chrono_literals;
using relay::Shipper;
using relay::ShipperPace;
using ::testing::HasSubstr;

class ShipperTest : public ::testing::Test {
 protected:
  ShipperTest() {
    append(volume.path() / "token", "pod-1\n");
    server =
        std::make_unique<ArchiveServer>(std::make_shared<DirectoryStore>(config_in(folder.path())));
    port = server->port();
  }
  [[nodiscard]] relay::ArchiveRoute route() const {
    relay::ArchiveRoute out;
    out.url = {false, "127.0.0.1", port, "/archive"};
    out.token_file = volume.path() / "token";
    out.record = record();
    out.output = output();
    return out;
  }
  [[nodiscard]] fs::path record() const { return volume.path() / "record.jsonl"; }
  [[nodiscard]] fs::path output() const { return volume.path() / "output.log"; }
  [[nodiscard]] fs::path kept(const char* file) const {
    return folder.path() / "team-a/fix-login/uid-1/pod-1" / file;
  }
  static ShipperPace fast() { return {20ms, 10ms, 100ms}; }

  Folder folder;
  Folder volume;
  std::unique_ptr<ArchiveServer> server;
  std::uint16_t port = 0;
};

TEST_F(ShipperTest, SendsWhileTheSessionRunsAndAtItsEnd) {
  Shipper shipper(route(), fast());
  append(record(), "{\"a\":1}\n");
  EXPECT_TRUE(eventually([&] { return read(kept("record.jsonl")) == "{\"a\":1}\n"; }));
  append(record(), std::string(700'000, 'r') + "\n");
  append(output(), "working\n");
  EXPECT_TRUE(eventually([&] { return fs::exists(kept("output.log")); }));
  EXPECT_FALSE(shipper.shipped().complete);
  append(output(), "done\n");
  shipper.finish(15s);
  const relay::Shipped all = shipper.shipped();
  EXPECT_TRUE(all.complete) << all.trouble;
  EXPECT_EQ(all.trouble, "");
  EXPECT_EQ(all.bytes, fs::file_size(record()) + fs::file_size(output()));
  EXPECT_EQ(read(kept("record.jsonl")), read(record()));
  EXPECT_EQ(read(kept("output.log")), "working\ndone\n");
  EXPECT_TRUE(fs::exists(kept("complete.json")));
  EXPECT_EQ(json::parse(to_json(all)), json({{"bytes", all.bytes}, {"complete", true}}));
}

TEST_F(ShipperTest, ASessionWithoutAWordIsWholeToo) {
  Shipper shipper(route(), fast());
  shipper.finish(15s);
  EXPECT_TRUE(shipper.shipped().complete) << shipper.shipped().trouble;
  EXPECT_EQ(shipper.shipped().bytes, 0U);
}

TEST_F(ShipperTest, NeitherARestartedGatewayNorARestartedRelayLosesOrDoubles) {
  std::string whole;
  auto shipper = std::make_unique<Shipper>(route(), fast());
  for (int i = 0; i < 60; ++i) {
    const std::string line = "{\"line\":" + std::to_string(i) + "}\n";
    whole += line;
    append(record(), line);
    if (i % 20 == 10) {
      server.reset();  // gone, in the middle of whatever it does
      std::this_thread::sleep_for(50ms);
      server = std::make_unique<ArchiveServer>(
          std::make_shared<DirectoryStore>(config_in(folder.path())), port);
    }
    if (i % 20 == 15) shipper = std::make_unique<Shipper>(route(), fast());
    if (i % 7 == 0) server->fail_next = 2;
    std::this_thread::sleep_for(5ms);
  }
  shipper->finish(15s);
  EXPECT_TRUE(shipper->shipped().complete) << shipper->shipped().trouble;
  EXPECT_EQ(read(kept("record.jsonl")), whole);
}

TEST_F(ShipperTest, AGatewayThatIsAwayIsSaidAndWaitedForOnlySoLong) {
  append(record(), "{}\n");
  server.reset();
  Shipper shipper(route(), fast());
  EXPECT_TRUE(eventually([&] { return !shipper.shipped().trouble.empty(); }));
  EXPECT_THAT(shipper.shipped().trouble, HasSubstr("the gateway cannot be reached"));
  const auto begun = std::chrono::steady_clock::now();
  shipper.finish(300ms);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 10s);
  EXPECT_FALSE(shipper.shipped().complete);
  EXPECT_THAT(shipper.shipped().trouble, HasSubstr("the gateway cannot be reached"));
}

TEST_F(ShipperTest, ARecordThatWasChangedIsFoundOut) {
  append(record(), "refused: curl\n");
  Shipper shipper(route(), fast());
  EXPECT_TRUE(eventually([&] { return fs::exists(kept("record.jsonl")); }));
  EXPECT_TRUE(eventually([&] { return shipper.shipped().bytes == 14; }));
  fs::remove(record());
  append(record(), "none\n");
  append(output(), "output\n");
  EXPECT_TRUE(eventually([&] { return !shipper.shipped().trouble.empty(); }));
  shipper.finish(15s);
  EXPECT_FALSE(shipper.shipped().complete);
  EXPECT_THAT(shipper.shipped().trouble,
              HasSubstr("record.jsonl is shorter than what was archived"));
  // What was there first stays, and the other stream goes on.
  EXPECT_EQ(read(kept("record.jsonl")), "refused: curl\n");
  EXPECT_EQ(read(kept("output.log")), "output\n");
  EXPECT_FALSE(fs::exists(kept("complete.json")));
  // Another relay, which remembers nothing, is refused as well.
  append(record(), "none either, and longer\n");
  Shipper again(route(), fast());
  again.finish(15s);
  EXPECT_FALSE(again.shipped().complete);
}

TEST_F(ShipperTest, NoLinkIsFollowedOnTheVolume) {
  append(volume.path() / "secret", "what the relay may read");
  fs::create_symlink(volume.path() / "secret", record());
  Shipper shipper(route(), fast());
  shipper.finish(5s);
  EXPECT_FALSE(shipper.shipped().complete);
  EXPECT_THAT(shipper.shipped().trouble, HasSubstr("record.jsonl cannot be read"));
  EXPECT_EQ(read(kept("record.jsonl")), "");
}

TEST_F(ShipperTest, AQuotaIsToldAndEndsTheStream) {
  server = std::make_unique<ArchiveServer>(
      std::make_shared<DirectoryStore>(config_in(folder.path(), 100)));
  append(record(), std::string(90, 'r'));
  append(output(), std::string(50, 'o'));
  port = server->port();
  Shipper shipper(route(), fast());
  shipper.finish(15s);
  EXPECT_FALSE(shipper.shipped().complete);
  EXPECT_THAT(shipper.shipped().trouble, HasSubstr("output: the session has used up"));
  EXPECT_EQ(shipper.shipped().bytes, 90U);
}

// The archive is at the same gateway, and the relay has the token: none of its routes leads there.
TEST_F(ShipperTest, TheAgentReachesItByNoRouteOfTheRelay) {
  relay::Config config;
  for (const char* path : {"/v1", "/git"}) {
    relay::Route one;
    one.name = path + 1;
    one.address = "127.0.0.1";
    one.port = 0;
    one.path = path;
    one.url = {false, "127.0.0.1", port, path};
    one.token_file = volume.path() / "token";
    config.routes.push_back(one);
  }
  relay::Relay relay(config);
  ASSERT_TRUE(relay.start());
  for (const std::uint16_t at : relay.ports()) {
    for (const char* target :
         {"/archive/record?offset=0", "/archive/close?record=0&output=0",
          "//archive/record?offset=0", "/v1/../archive/record?offset=0",
          "/git/../archive/record?offset=0", "/v1/%2e%2e/archive/record?offset=0",
          "/git/..%2farchive/record?offset=0", "/v1/..%5carchive/record?offset=0",
          "/v1archive/record?offset=0", "/-/archive/record",
          "http://gateway/archive/record?offset=0"}) {
      Wire wire(at);
      wire.send("POST " + std::string(target) +
                " HTTP/1.1\r\nHost: relay\r\nContent-Length: 6\r\nConnection: close\r\n\r\nforged");
      const std::string answer = wire.rest();
      EXPECT_THAT(answer, ::testing::AnyOf(::testing::StartsWith("HTTP/1.1 404"),
                                           ::testing::StartsWith("HTTP/1.1 400")))
          << target;
    }
  }
  EXPECT_FALSE(fs::exists(folder.path() / "team-a"));
  EXPECT_TRUE(server->lines().empty());
}

}  // namespace
}  // namespace palisade::gateway::archive::testing
