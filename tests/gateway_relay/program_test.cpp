// palisade-relay as a pod runs it: its commands, exit codes, report and end.
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "gateway_http/fixture.h"

namespace palisade::gateway::relay {
namespace {

using namespace palisade::gateway::testing;
namespace fs = std::filesystem;
using nlohmann::json;

struct Ran {
  int code = -1;
  std::string output;  // and what it says of errors
};

Ran run(const std::string& arguments) {
  Ran out;
  std::FILE* pipe = ::popen((std::string(PALISADE_RELAY) + " " + arguments + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return out;
  std::array<char, 4096> piece{};
  std::size_t got = 0;
  while ((got = std::fread(piece.data(), 1, piece.size(), pipe)) > 0)
    out.output.append(piece.data(), got);
  const int status = ::pclose(pipe);
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return out;
}

std::uint16_t free_port() {
  ScriptedServer taken([](Wire&) {});
  return taken.port();
}

class RelayProgram : public ::testing::Test {
 protected:
  RelayProgram() {
    folder_ = fs::temp_directory_path() / ("relay-program-" + std::to_string(::getpid()));
    fs::create_directory(folder_);
  }
  ~RelayProgram() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    fs::remove_all(folder_);
  }

  void configure(const json& config) { std::ofstream(file()) << config; }
  json config(std::uint16_t upstream) {
    port_ = free_port();
    return {{"routes",
             {{{"name", "llm"},
               {"listen", "127.0.0.1:" + std::to_string(port_)},
               {"url", "http://127.0.0.1:" + std::to_string(upstream) + "/v1"},
               {"path", "/v1"}}}},
            {"terminationLog", (folder_ / "report").string()}};
  }
  [[nodiscard]] std::string file() const { return (folder_ / "relay.json").string(); }
  [[nodiscard]] std::string with_config(const char* command) const {
    return std::string(command) + " --config " + file();
  }
  [[nodiscard]] std::string read(const char* name) const {
    std::ifstream in(folder_ / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  void serve() {
    pid_ = ::fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) {
      std::ignore = std::freopen((folder_ / "log").c_str(), "w", stdout);
      ::execl(PALISADE_RELAY, PALISADE_RELAY, "serve", "--config", file().c_str(), nullptr);
      ::_exit(127);
    }
    ASSERT_TRUE(eventually([&] { return run(with_config("ready")).code == 0; })) << read("log");
  }
  int end() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  fs::path folder_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

TEST_F(RelayProgram, RefusesWhatItCannotDoAndNamesIt) {
  const Ran missing = run("serve --config /nonexistent.json");
  EXPECT_EQ(missing.code, 2);
  EXPECT_EQ(missing.output, "palisade-relay: /nonexistent.json: cannot be read\n");
  json wrong = config(1);
  wrong["routes"][0]["listen"] = "0.0.0.0:4000";
  configure(wrong);
  for (const char* command : {"serve", "ready", "status"}) {
    const Ran ran = run(with_config(command));
    EXPECT_EQ(ran.code, 2) << command;
    EXPECT_EQ(ran.output,
              "palisade-relay: " + file() + ": routes[0].listen: is no loopback address\n");
  }
  configure(config(1));
  EXPECT_EQ(run(with_config("ready")).code, 1);
  EXPECT_EQ(run(with_config("status")).code, 1);
  EXPECT_EQ(run("").code, 2);
  EXPECT_EQ(run("nonsense").code, 2);
  const Ran help = run("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.output, ::testing::HasSubstr("tokenFile"));
  ScriptedServer taken([](Wire&) {});
  json occupied = config(1);
  occupied["routes"][0]["listen"] = "127.0.0.1:" + std::to_string(taken.port());
  configure(occupied);
  const Ran ran = run(with_config("serve"));
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.output, ::testing::HasSubstr("route llm: listen on 127.0.0.1:"));
}

TEST_F(RelayProgram, ServesWhileOneCommandRunsAndEndsWithIt) {
  configure(config(1));
  const std::string with = with_config("with") + " -- ";
  const std::string listens = std::string(PALISADE_RELAY) + " " + with_config("ready");
  // The command finds it listening, its words are its own, and so is its exit code.
  const Ran found = run(with + "/bin/sh -c '" + listens + " && echo --it listens; exit 7'");
  EXPECT_EQ(found.code, 7) << found.output;
  EXPECT_THAT(found.output, ::testing::HasSubstr("--it listens\n"));
  EXPECT_EQ(run(with_config("ready")).code, 1) << "it listens on";
  EXPECT_EQ(run(with + "/bin/true").code, 0);
  EXPECT_EQ(run(with + "/bin/sh -c 'kill -9 $$'").code, 128 + 9);
  EXPECT_EQ(run(with + "/nonexistent").code, 1);
  EXPECT_EQ(run(with_config("with")).code, 2);
  // One that cannot listen starts nothing.
  ScriptedServer taken([](Wire&) {});
  json occupied = config(1);
  occupied["routes"][0]["listen"] = "127.0.0.1:" + std::to_string(taken.port());
  configure(occupied);
  const Ran none = run(with + "/bin/echo started");
  EXPECT_EQ(none.code, 1);
  EXPECT_THAT(none.output, ::testing::Not(::testing::HasSubstr("started")));
}

TEST_F(RelayProgram, FinishesAStreamAfterSigtermAndReports) {
  std::promise<void> go;
  const auto gone = go.get_future().share();
  TestServer gateway([gone](Exchange& exchange) -> Task<void> {
    EXPECT_FALSE(exchange.request().fields.has("authorization"));
    Fields none;
    if (exchange.request().target != "/v1/slow") {
      std::ignore = co_await exchange.reply(200, std::move(none), "quick");
      co_return;
    }
    std::ignore = co_await exchange.begin(200, std::move(none), std::nullopt);
    std::ignore = co_await exchange.write("one");
    while (gone.wait_for(0s) != std::future_status::ready)
      co_await pause(2ms);
    std::ignore = co_await exchange.write("two");
    std::ignore = co_await exchange.end();
  });
  configure(config(gateway.port()));
  serve();
  Wire quick(port_);
  quick.send("GET /v1/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer none\r\n\r\n");
  EXPECT_NE(quick.until("quick"), "");
  Wire slow(port_);
  slow.send("GET /v1/slow HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(slow.until("one\r\n"), "");
  const json status = json::parse(run(with_config("status")).output);
  EXPECT_EQ(status["requests"], 2);
  EXPECT_EQ(status["failures"], 0);
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(quick.rest(), "") << "idle";
  EXPECT_EQ(read("report"), "");
  go.set_value();
  EXPECT_EQ(slow.rest(), "3\r\ntwo\r\n0\r\n\r\n");
  EXPECT_EQ(end(), 0);
  const json report = json::parse(read("report"));
  EXPECT_EQ(report["requests"], 2);
  EXPECT_EQ(report["failures"], 0);
  EXPECT_EQ(report["bytesUp"], 0);
  EXPECT_EQ(report["bytesDown"], 11);
  EXPECT_TRUE(report["idleSeconds"].is_number_integer());
  EXPECT_THAT(read("log"), ::testing::HasSubstr("\"message\":\"ended\""));
}

}  // namespace
}  // namespace palisade::gateway::relay
