// palisade-gateway and palisade-relay themselves, over TLS, with tokens of a real API server: a
// session's record and output are whole in the archive's folder, whatever was restarted meanwhile.
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "gateway_archive/s3_server.h"
#include "gateway_serve/program.h"

namespace palisade::gateway::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

using archive::testing::read;
using archive::testing::S3Server;

// The sidecar of one agent, and the volume on which guard writes.
class RelayProcess {
 public:
  RelayProcess(fs::path folder, std::uint16_t gateway, const std::string& authorities,
               const std::string& token)
      : folder_(std::move(folder)), port_(free_port()) {
    fs::create_directories(folder_);
    std::ofstream(folder_ / "token") << token;
    std::ofstream(folder_ / "ca.pem") << authorities;
    const std::string url = "https://" + std::string(kServerName) + ":" + std::to_string(gateway);
    const Json way{{"address", "127.0.0.1"},
                   {"tokenFile", (folder_ / "token").string()},
                   {"caFile", (folder_ / "ca.pem").string()}};
    Json llm{{"name", "llm"},
             {"listen", "127.0.0.1:" + std::to_string(port_)},
             {"url", url + "/v1"},
             {"path", "/v1"}};
    llm.update(way);
    Json archive{
        {"url", url + "/archive"}, {"record", record().string()}, {"output", output().string()}};
    archive.update(way);
    std::ofstream(folder_ / "relay.json") << Json{{"routes", Json::array({llm})},
                                                  {"archive", archive},
                                                  {"terminationLog", report().string()}};
  }

  bool start() {
    const auto started =
        process_.start({PALISADE_RELAY, "serve", "--config", (folder_ / "relay.json").string()},
                       folder_ / "relay.log");
    return started && eventually([&] { return Wire(port_, "").good(); });
  }
  void signal(int number) { process_.stop(number, 60s); }
  [[nodiscard]] fs::path record() const { return folder_ / "record.jsonl"; }
  [[nodiscard]] fs::path output() const { return folder_ / "output.log"; }
  [[nodiscard]] fs::path report() const { return folder_ / "report"; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::string log() const { return read(folder_ / "relay.log"); }

 private:
  const fs::path folder_;
  const std::uint16_t port_;
  kube::envtest::Process process_;
};

class ArchivePrograms : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::signal(SIGPIPE, SIG_IGN);
    spdlog::set_level(spdlog::level::critical);
    std::string name = fs::temp_directory_path() / "palisade-archive-programs-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    fs::create_directory(folder_ / "spool");
    fs::create_directory(folder_ / "archive");
    upstream_ = std::make_unique<Upstream>();
    cluster_ = std::make_unique<Cluster>();
    cluster_->write_secret("openai", {{"api-key", "sk-first"}});
    cluster_->make_namespace("team-a");
    write_config("gateway.json",
                 {{"directory", (folder_ / "archive").string()}, {"retentionDays", 30}});
  }
  static void TearDownTestSuite() {
    cluster_.reset();
    upstream_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  static void write_config(const std::string& name, const Json& archive) {
    std::ofstream(folder_ / name) << Json{
        {"llm",
         {{"upstreams", Json::array({{{"name", "openai"},
                                      {"url", upstream_->url()},
                                      {"kind", "openai"},
                                      {"keySecret", {{"name", "openai"}, {"key", "api-key"}}}}})},
          {"models", Json::array({{{"name", "gpt-4o"},
                                   {"routes", Json::array({{{"upstream", "openai"},
                                                            {"model", "gpt-4o"}}})}}})}}},
        {"git", {{"spool", (folder_ / "spool").string()}}},
        {"archive", archive}};
  }
  static std::unique_ptr<Gateway> start_gateway(const std::string& name,
                                                const std::string& config = "gateway.json") {
    return std::make_unique<Gateway>(Gateway::Options{cluster_->env().kubeconfig_path(),
                                                      folder_ / config, folder_ / (name + ".log")});
  }
  static std::string authorities() {
    const auto trust =
        cluster_->client()->get(resources::kConfigMaps, kOwnNamespace, "palisade-gateway-ca");
    return trust ? trust->at("data").at("ca.crt").get<std::string>() : std::string();
  }
  static fs::path session(const Agent& agent) {
    return folder_ / "archive" / agent.ns / agent.name / agent.workspace_uid / agent.pod_uid;
  }

  static inline fs::path folder_;
  static inline std::unique_ptr<Upstream> upstream_;
  static inline std::unique_ptr<Cluster> cluster_;
};

TEST_F(ArchivePrograms, ASessionIsWholeThoughTheGatewayIsKilledInTheMiddle) {
  auto one = start_gateway("first");
  auto two = start_gateway("second");
  ASSERT_TRUE(one->becomes_ready()) << one->log();
  ASSERT_TRUE(two->becomes_ready()) << two->log();
  const Agent who = cluster_->make_agent("team-a", "killed");
  const std::string token = cluster_->token(who);
  RelayProcess relay(folder_ / "killed", one->port(), authorities(), token);
  std::string record;
  const auto tell = [&](int lines) {
    std::string more;
    for (int i = 0; i < lines; ++i)
      more += "{\"line\":" + std::to_string(record.size() + more.size()) + "}\n";
    record += more;
    std::ofstream(relay.record(), std::ios::binary | std::ios::app) << more;
  };
  tell(100);
  ASSERT_TRUE(relay.start()) << relay.log();
  ASSERT_TRUE(eventually([&] { return read(session(who) / "record.jsonl") == record; }, 60s))
      << relay.log() << one->log();

  // The other replica knows what is there, by the volume alone.
  {
    Wire wire(two->port(), authorities());
    EXPECT_EQ(call(wire, "GET", "/archive/record", token).json()["bytes"], record.size());
    const std::string forged = call(wire, "POST", "/archive/record?offset=0", token, "forged").body;
    EXPECT_THAT(forged, HasSubstr("rewrite"));
  }
  // Nobody without the pod's token, and no other pod, adds to it.
  {
    const Agent other = cluster_->make_agent("team-a", "other");
    Wire wire(two->port(), authorities());
    EXPECT_EQ(call(wire, "GET", "/archive/record", "nonsense").status, 401);
    EXPECT_EQ(call(wire, "GET", "/archive/record", cluster_->token(other)).json()["bytes"], 0);
  }
  // Nor the agent, at the relay that has it.
  {
    Wire wire(relay.port(), "");
    EXPECT_EQ(call(wire, "POST", "/archive/record?offset=0", "", "forged").status, 404);
    EXPECT_EQ(call(wire, "POST", "/v1/../archive/record?offset=0", "", "forged").status, 404);
  }

  one->signal(SIGKILL);
  tell(500);
  std::ofstream(relay.output()) << "what the agent said\n";
  EXPECT_TRUE(eventually(
      [&] { return relay.log().find("the gateway cannot be reached") != std::string::npos; }, 60s))
      << relay.log();
  one.reset();
  // Where the Service leads now; the relay knows nothing of it but a new address.
  relay.signal(SIGKILL);
  RelayProcess again(folder_ / "killed", two->port(), authorities(), token);
  ASSERT_TRUE(again.start()) << again.log();
  tell(50);
  again.signal(SIGTERM);
  EXPECT_EQ(read(session(who) / "record.jsonl"), record) << again.log();
  EXPECT_EQ(read(session(who) / "output.log"), "what the agent said\n");
  EXPECT_TRUE(fs::exists(session(who) / "complete.json"));
  const Json report = Json::parse(read(again.report()), nullptr, false);
  EXPECT_EQ(report["archive"], Json({{"bytes", record.size() + 20}, {"complete", true}})) << report;
  EXPECT_TRUE(report.contains("requests"));
  const std::string metrics = two->page("/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("palisade_gateway_archived_sessions_total 1"));
  EXPECT_THAT(metrics, HasSubstr("palisade_gateway_archived_bytes_total"));
  EXPECT_TRUE(
      eventually([&] { return two->log().find("\"kind\":\"archive\"") != std::string::npos; }));
  two->signal(SIGTERM);
}

TEST_F(ArchivePrograms, AWholeStreamThatDoesNotGetThereIsSaidInTheReport) {
  auto gateway = start_gateway("third");
  ASSERT_TRUE(gateway->becomes_ready()) << gateway->log();
  const Agent who = cluster_->make_agent("team-a", "cut");
  RelayProcess relay(folder_ / "cut", gateway->port(), authorities(), cluster_->token(who));
  std::ofstream(relay.record()) << "{}\n";
  ASSERT_TRUE(relay.start()) << relay.log();
  ASSERT_TRUE(eventually([&] { return fs::exists(session(who) / "record.jsonl"); }, 60s));
  gateway->signal(SIGKILL);
  std::ofstream(relay.record(), std::ios::app) << "{\"more\":true}\n";
  relay.signal(SIGTERM);
  const Json report = Json::parse(read(relay.report()), nullptr, false);
  EXPECT_EQ(report["archive"]["complete"], false) << report;
  // Whether the answer came before the end or not.
  EXPECT_THAT(report["archive"]["bytes"].get<int>(), ::testing::AnyOf(0, 3)) << report;
  EXPECT_THAT(report["archive"]["trouble"].get<std::string>(),
              HasSubstr("the gateway cannot be reached"));
}

TEST_F(ArchivePrograms, ASessionIsWholeInABucket) {
  S3Server server;
  const archive::S3Config bucket = server.config().s3.value();
  write_config("s3.json", {{"s3",
                            {{"endpoint", bucket.endpoint},
                             {"region", bucket.region},
                             {"bucket", bucket.bucket},
                             {"prefix", bucket.prefix},
                             {"credentials", bucket.credentials.string()},
                             {"authorities", bucket.authorities}}}});
  // It serves without its bucket, and says so.
  auto gateway = start_gateway("bucket", "s3.json");
  ASSERT_TRUE(gateway->becomes_ready()) << gateway->log();
  EXPECT_TRUE(eventually([&] {
    return gateway->log().find("bucket cannot be used") != std::string::npos;
  })) << gateway->log();
  const Agent who = cluster_->make_agent("team-a", "bucket");
  const fs::path session =
      server.session(who.ns + "/" + who.name + "/" + who.workspace_uid + "/" + who.pod_uid);
  std::string record = "{\"line\":1}\n";
  RelayProcess relay(folder_ / "bucket", gateway->port(), authorities(), cluster_->token(who));
  std::ofstream(relay.record()) << record;
  ASSERT_TRUE(relay.start()) << relay.log();
  EXPECT_TRUE(eventually(
      [&] { return gateway->log().find("archive_unavailable") != std::string::npos; }, 60s))
      << gateway->log();
  server.start();
  ASSERT_TRUE(eventually([&] { return S3Server::whole(session, "record") == record; }, 60s))
      << relay.log() << gateway->log();
  record += "{\"line\":2}\n";
  std::ofstream(relay.record(), std::ios::app) << "{\"line\":2}\n";
  const std::string said(600'000, 'x');
  std::ofstream(relay.output()) << said;
  relay.signal(SIGTERM);
  EXPECT_EQ(S3Server::whole(session, "record"), record) << relay.log();
  EXPECT_EQ(S3Server::whole(session, "output"), said);
  // Three pieces, and the stream's end.
  EXPECT_EQ(S3Server::pieces(session, "output").size(), 4U);
  EXPECT_EQ(Json::parse(read(session / "complete.json")),
            Json({{"record", record.size()}, {"output", said.size()}}));
  const Json report = Json::parse(read(relay.report()), nullptr, false);
  EXPECT_EQ(report["archive"], Json({{"bytes", said.size() + record.size()}, {"complete", true}}))
      << report;
  EXPECT_THAT(gateway->page("/metrics").body,
              HasSubstr("palisade_gateway_archived_sessions_total 1"));
  gateway->signal(SIGTERM);
}

}  // namespace
}  // namespace palisade::gateway::testing
