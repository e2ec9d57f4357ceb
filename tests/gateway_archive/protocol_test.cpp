// /archive as a relay, and anybody else who could get there, would speak to it.
#include <gmock/gmock.h>

#include "gateway_archive/fixture.h"

namespace palisade::gateway::archive::testing {
namespace {

using ::testing::HasSubstr;

struct Said {
  int status = 0;
  json body;
};

class ProtocolTest : public ::testing::Test {
 protected:
  Said ask(const std::string& method, const std::string& target, const std::string& body = "",
           const std::string& who = "pod-1") {
    Wire wire(server.port());
    wire.send(method + " " + target + " HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer " + who +
              "\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\nConnection: close\r\n\r\n" + body);
    const std::string head = wire.until("\r\n\r\n");
    Said out;
    if (head.size() > 12) out.status = std::stoi(head.substr(9, 3));
    out.body = json::parse(wire.rest(), nullptr, false);
    return out;
  }
  fs::path session(const std::string& pod = "pod-1") const {
    return folder.path() / "team-a/fix-login/uid-1" / pod;
  }

  Folder folder;
  ArchiveServer server{std::make_shared<DirectoryStore>(config_in(folder.path()))};
};

TEST_F(ProtocolTest, AStreamIsAskedForAndGrows) {
  EXPECT_EQ(ask("GET", "/archive/record").body, json({{"bytes", 0}, {"closed", false}}));
  EXPECT_EQ(ask("POST", "/archive/record?offset=0", "{}\n").body,
            json({{"bytes", 3}, {"closed", false}}));
  EXPECT_EQ(ask("POST", "/archive/record?offset=0", "{}\n").status, 200);
  EXPECT_EQ(ask("POST", "/archive/output?offset=0", "hello").body["bytes"], 5);
  EXPECT_EQ(server.kept, 8U);
  EXPECT_TRUE(server.lines().empty());  // no line for each piece
  EXPECT_EQ(ask("POST", "/archive/close?record=3&output=5").body,
            json({{"bytes", 8}, {"closed", true}}));
  EXPECT_EQ(server.closed, 1);
  ASSERT_EQ(server.lines().size(), 1U);
  EXPECT_EQ(server.lines()[0]["location"], "team-a/fix-login/uid-1/pod-1");
  EXPECT_EQ(server.lines()[0]["verdict"], "allowed");
  EXPECT_EQ(ask("POST", "/archive/record?offset=3", "more").body["code"], "closed");
  EXPECT_EQ(read(session() / "record.jsonl"), "{}\n");
}

TEST_F(ProtocolTest, WhoseItIsSaysTheTokenAlone) {
  ASSERT_EQ(ask("POST", "/archive/record?offset=0", "mine").status, 200);
  EXPECT_EQ(ask("GET", "/archive/record", "", "pod-2").body["bytes"], 0);
  EXPECT_EQ(ask("POST", "/archive/record?offset=4", "forged", "pod-2").body["code"], "gap");
  EXPECT_EQ(ask("POST", "/archive/record?offset=0&pod=pod-1", "forged", "pod-2").status, 400);
  for (const char* target : {"/archive/team-a/fix-login/uid-1/pod-1/record?offset=4",
                             "/archive/../record?offset=4", "/archive/record/../../x?offset=0",
                             "/archive/", "/archive/.lock?offset=0", "/archive/complete.json"}) {
    const Said said = ask("POST", target, "forged", "pod-2");
    EXPECT_EQ(said.status, 404) << target;
  }
  EXPECT_EQ(read(session() / "record.jsonl"), "mine");
  EXPECT_FALSE(fs::exists(session("pod-2") / "record.jsonl"));
}

TEST_F(ProtocolTest, RefusalsSayWhy) {
  for (const char* target :
       {"/archive/record", "/archive/record?offset=", "/archive/record?offset=-1",
        "/archive/record?offset=1x", "/archive/record?offset=99999999999999999999",
        "/archive/record?at=1", "/archive/close", "/archive/close?record=1",
        "/archive/close?output=1&record=1", "/archive/close?record=1&output=1&x=1"}) {
    EXPECT_EQ(ask("POST", target, "x").body["code"], "bad_request") << target;
  }
  EXPECT_EQ(ask("PUT", "/archive/record?offset=0", "x").status, 405);
  EXPECT_EQ(ask("GET", "/archive/close?record=0&output=0").status, 405);
  const Said large = ask("POST", "/archive/record?offset=0", std::string(kMostPiece + 1, 'x'));
  EXPECT_EQ(large.body["code"], "piece_too_large");
  EXPECT_EQ(ask("POST", "/archive/record?offset=0", std::string(kMostPiece, 'x')).status, 200);
  ASSERT_FALSE(server.lines().empty());
  EXPECT_EQ(server.lines()[0]["verdict"], "refused");
  EXPECT_EQ(server.lines()[0]["pod"], "fix-login-agent");
}

TEST_F(ProtocolTest, WithoutAnArchiveItSaysSo) {
  ArchiveServer none(nullptr);
  Wire wire(none.port());
  wire.send("GET /archive/record HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n");
  const std::string answer = wire.rest();
  EXPECT_THAT(answer, HasSubstr("404"));
  EXPECT_THAT(answer, HasSubstr("no_archive"));
}

}  // namespace
}  // namespace palisade::gateway::archive::testing
