// relay.json: what is taken, and which field is named where it is not.
#include <map>

#include <gateway/relay/config.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway::relay {
namespace {

using nlohmann::json;

json good() {
  return {{"routes",
           {{{"name", "llm"},
             {"listen", "127.0.0.1:4000"},
             {"url", "https://palisade-gateway.palisade-gateway.svc:8443/v1"},
             {"path", "/v1"},
             {"address", "10.96.3.4"},
             {"tokenFile", "/var/run/secrets/palisade/gateway/token"},
             {"caFile", "/etc/palisade/gateway-ca.pem"}},
            {{"name", "git"},
             {"listen", "127.0.0.1:4001"},
             {"url", "http://[fd00::1]/git/"},
             {"path", "/git"}}}},
          {"terminationLog", "/dev/termination-log"},
          {"ofANewerOperator", true}};
}

json archive() {
  return {{"url", "https://palisade-gateway.palisade-gateway.svc:8443/archive"},
          {"address", "10.96.3.4"},
          {"tokenFile", "/var/run/secrets/palisade/gateway/token"},
          {"caFile", "/etc/palisade/gateway-ca.pem"},
          {"record", "/palisade/record/record.jsonl"},
          {"output", "/palisade/record/output.log"}};
}

TEST(RelayConfig, AnArchiveIsNoRoute) {
  EXPECT_FALSE(parse_config(good().dump())->archive);
  json document = good();
  document["archive"] = archive();
  const auto config = parse_config(document.dump());
  ASSERT_TRUE(config && config->archive) << config.error();
  EXPECT_EQ(config->routes.size(), 2U);
  EXPECT_EQ(config->archive->url.path, "/archive");
  EXPECT_EQ(config->archive->connect_to, "10.96.3.4");
  EXPECT_EQ(config->archive->token_file, "/var/run/secrets/palisade/gateway/token");
  EXPECT_EQ(config->archive->record, "/palisade/record/record.jsonl");
  EXPECT_EQ(config->archive->output, "/palisade/record/output.log");
}

TEST(RelayConfig, IsReadInFull) {
  const auto config = parse_config(good().dump());
  ASSERT_TRUE(config) << config.error();
  ASSERT_EQ(config->routes.size(), 2U);
  const Route& llm = config->routes[0];
  EXPECT_EQ(llm.name, "llm");
  EXPECT_EQ(llm.address, "127.0.0.1");
  EXPECT_EQ(llm.port, 4000);
  EXPECT_EQ(llm.path, "/v1");
  EXPECT_TRUE(llm.url.tls);
  EXPECT_EQ(llm.url.host, "palisade-gateway.palisade-gateway.svc");
  EXPECT_EQ(llm.url.port, 8443);
  EXPECT_EQ(llm.url.path, "/v1");
  EXPECT_EQ(llm.connect_to, "10.96.3.4");
  EXPECT_EQ(llm.token_file, "/var/run/secrets/palisade/gateway/token");
  EXPECT_EQ(llm.ca_file, "/etc/palisade/gateway-ca.pem");
  const Route& git = config->routes[1];
  EXPECT_FALSE(git.url.tls);
  EXPECT_EQ(git.url.host, "fd00::1");
  EXPECT_EQ(git.url.port, 80);
  EXPECT_EQ(git.url.path, "/git");
  EXPECT_TRUE(git.connect_to.empty() && git.token_file.empty() && git.ca_file.empty());
  EXPECT_EQ(config->termination_log, "/dev/termination-log");
}

TEST(RelayConfig, NamesTheFieldThatIsWrong) {
  const struct {
    const char* path;
    json value;  // null: the field is taken away
    const char* named;
  } cases[] = {
      {"/routes", nullptr, "routes: "},
      {"/routes", json::array(), "routes: "},
      {"/routes", "x", "routes: "},
      {"/routes/1", 5, "routes[1]: "},
      {"/routes/0/name", nullptr, "routes[0].name: "},
      {"/routes/0/name", 5, "routes[0].name: "},
      {"/routes/0/name", "a b", "routes[0].name: "},
      {"/routes/0/name", "a\nb", "routes[0].name: "},
      {"/routes/0/listen", nullptr, "routes[0].listen: "},
      {"/routes/0/listen", "4000", "routes[0].listen: "},
      {"/routes/0/listen", "127.0.0.1", "routes[0].listen: "},
      {"/routes/0/listen", "127.0.0.1:0", "routes[0].listen: "},
      {"/routes/0/listen", "127.0.0.1:65536", "routes[0].listen: "},
      {"/routes/0/listen", "127.0.0.1:4001", "routes[1].listen: "},
      {"/routes/0/listen", "0.0.0.0:4000", "routes[0].listen: is no loopback address"},
      {"/routes/0/listen", "10.0.0.1:4000", "routes[0].listen: is no loopback address"},
      {"/routes/0/listen", "[::]:4000", "routes[0].listen: is no loopback address"},
      {"/routes/0/listen", "localhost:4000", "routes[0].listen: is no loopback address"},
      {"/routes/0/url", nullptr, "routes[0].url: "},
      {"/routes/0/url", "ftp://x/", "routes[0].url: is neither"},
      {"/routes/0/url", "https://", "routes[0].url: has no host"},
      {"/routes/0/url", "https://x:0/", "routes[0].url: has no host"},
      {"/routes/0/url", "https://x:port/", "routes[0].url: has no host"},
      {"/routes/0/url", "https://a@x/", "routes[0].url: has no host"},
      {"/routes/0/url", "https://x/?a=b", "routes[0].url: is no plain path"},
      {"/routes/0/url", "https://x/a/../b", "routes[0].url: is no plain path"},
      {"/routes/0/url", "https://x/%2e", "routes[0].url: is no plain path"},
      {"/routes/0/url", "https://x/a\r\nHost: y", "routes[0].url: "},
      {"/routes/0/path", nullptr, "routes[0].path: "},
      {"/routes/0/path", "v1", "routes[0].path: does not begin"},
      {"/routes/0/path", "/v1//x", "routes[0].path: is no plain path"},
      {"/routes/0/path", "/-", "routes[0].path: is the relay's own"},
      {"/routes/0/tokenFile", "token", "routes[0].tokenFile: is no absolute path"},
      {"/routes/0/caFile", 5, "routes[0].caFile: "},
      {"/terminationLog", "log", "terminationLog: is no absolute path"},
  };
  for (const auto& c : cases) {
    json document = good();
    const json::json_pointer where(c.path);
    if (c.value.is_null())
      document[where.parent_pointer()].erase(where.back());
    else
      document[where] = c.value;
    const auto config = parse_config(document.dump());
    ASSERT_FALSE(config) << c.path << " " << c.value;
    EXPECT_THAT(config.error(), ::testing::StartsWith(c.named)) << c.path << " " << c.value;
    EXPECT_EQ(config.error().find('\n'), std::string::npos);
  }
  for (const auto& [field, wrong] : std::map<std::string, json>{{"url", "ftp://x"},
                                                                {"record", "record.jsonl"},
                                                                {"output", nullptr},
                                                                {"tokenFile", "token"}}) {
    json document = good();
    document["archive"] = archive();
    if (wrong.is_null())
      document["archive"].erase(field);
    else
      document["archive"][field] = wrong;
    const auto config = parse_config(document.dump());
    ASSERT_FALSE(config) << field;
    EXPECT_THAT(config.error(), ::testing::StartsWith("archive." + field + ": ")) << config.error();
  }
  for (const char* text : {"", "[]", "{", "null", "5"})
    EXPECT_EQ(parse_config(text).error(), "is not a JSON object") << text;
}

}  // namespace
}  // namespace palisade::gateway::relay
