// Who we are: by a program, as somebody else, by a password.
#include <atomic>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <kube/attach.h>
#include <kube/client.h>
#include <kube/rfc3339.h>

#include "exec_plugin.h"
#include "kube/config_fixture.h"
#include "kube/scripted_server.h"
#include "kube/test_pki.h"

namespace {

using namespace std::chrono_literals;
using namespace config_testing;
using kube::Json;
using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kV1 = "client.authentication.k8s.io/v1";
constexpr const char* kV1Beta1 = "client.authentication.k8s.io/v1beta1";

std::string trimmed(std::string text) {
  std::erase_if(text, [](char c) { return c == '\n' || c == ' '; });
  return text;
}

std::string in(std::chrono::seconds time) {
  return kube::rfc3339(std::chrono::system_clock::now() + time);
}

class Credentials : public ConfigTest {
 protected:
  Credentials() {
    // Whoever runs the tests may sit at a terminal.
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    close(null);
  }

  // An executable that notes how it was run, and prints what is in the file `answer-N`, N the
  // number of its run, or else in `answer`.
  fs::path plugin(const std::string& end = "") {
    const std::string folder = directory_.string();
    const auto file = write("bin/plugin", "#!/bin/sh\ncd " + folder +
                                              "\necho \"$GREETING|$*\" >> runs\n"
                                              "printf %s \"$KUBERNETES_EXEC_INFO\" > info\n"
                                              "answer=answer-$(wc -l < runs)\n"
                                              "[ -e $answer ] || answer=answer\ncat $answer\n" +
                                              end);
    fs::permissions(file, fs::perms::owner_all);
    return file;
  }
  void answers(const Json& status, const std::string& name = "answer",
               const std::string& version = kV1) {
    write(name,
          Json{{"kind", "ExecCredential"}, {"apiVersion", version}, {"status", status}}.dump());
  }
  std::string read(const std::string& name) {
    std::ifstream file(directory_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::size_t runs() {
    const std::string text = read("runs");
    return static_cast<std::size_t>(std::ranges::count(text, '\n'));
  }
  // The part of a user that every test needs, `more` added.
  std::string exec(const std::string& more = "", const char* version = kV1) {
    return "{exec: {apiVersion: " + std::string(version) +
           ", command: bin/plugin, interactiveMode: Never" + more + "}}";
  }
  // Answers 200 to `good` and 401 to anything else.
  static scripted::Server::Script takes(const std::string& good) {
    return [good](scripted::Peer& peer, int) {
      for (std::string got; !(got = peer.read_request()).empty();) {
        const bool known = got.find("Bearer " + good + "\r\n") != std::string::npos;
        peer.respond(known ? "{}" : "", known ? "200 OK" : "401 Unauthorized");
      }
    };
  }
};

TEST_F(Credentials, ProgramIsToldWhatItNeedsAndItsTokenIsKept) {
  plugin();
  answers({{"token", "t0"}, {"expirationTimestamp", in(1h)}});
  scripted::Server server({}, takes("t0"));
  const auto config = load(kubeconfig(
      "{server: '" + server.url() +
          "', extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: a, "
          "depth: "
          "3, text: '3'}}]}",
      exec(", provideClusterInfo: true, args: [get-token, 'a b; exit 1'], env: [{name: GREETING, "
           "value: $HOME}]")));
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(runs(), 0U) << "not before it is needed";
  const auto client = kube::Client::connect(*config, kube::Client::TransportKind::kBeast);
  for (int i = 0; i < 3; ++i) {
    const auto got = client->get(kube::resources::kNodes, "", "n");
    ASSERT_TRUE(got) << got.error().text();
  }
  EXPECT_EQ(read("runs"), "$HOME|get-token a b; exit 1\n") << "no shell, and once";
  EXPECT_EQ(Json::parse(read("info")),
            Json({{"kind", "ExecCredential"},
                  {"apiVersion", kV1},
                  {"spec",
                   {{"interactive", false},
                    {"cluster",
                     {{"server", server.url()},
                      {"config", {{"audience", "a"}, {"depth", 3}, {"text", "3"}}}}}}}}));
}

TEST_F(Credentials, ExpiredOnesAreAskedForAgain) {
  plugin();
  answers({{"token", "t1"}, {"expirationTimestamp", in(6s)}}, "answer-1", kV1Beta1);
  // The same instant as a clock two hours ahead of UTC shows it.
  std::string ahead = in(1h + 2h);
  ahead.replace(ahead.size() - 1, 1, "+02:00");
  answers({{"token", "t2"}, {"expirationTimestamp", ahead}}, "answer-2", kV1Beta1);
  const auto config = load(kubeconfig("{server: https://a.test}", exec("", kV1Beta1)));
  ASSERT_TRUE(config) << config.error().text();
  ASSERT_TRUE(config->credentials->obtain({}));
  EXPECT_EQ(config->bearer_token(), "t1");
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (config->bearer_token() == "t1" && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(100ms);
    const auto held = config->credentials->obtain({});
    ASSERT_TRUE(held) << held.error().text();
  }
  EXPECT_EQ(config->bearer_token(), "t2");
  ASSERT_TRUE(config->credentials->obtain({}));
  EXPECT_EQ(runs(), 2U);
}

TEST_F(Credentials, RefusedOnesAreAskedForAgainOnce) {
  for (const auto kind :
       {kube::Client::TransportKind::kCpprest, kube::Client::TransportKind::kBeast}) {
    plugin();
    fs::remove(directory_ / "runs");
    answers({{"token", "old"}}, "answer-1");
    answers({{"token", "new"}});
    scripted::Server server({}, takes("new"));
    const auto config = load(kubeconfig("{server: '" + server.url() + "'}", exec()));
    ASSERT_TRUE(config) << config.error().text();
    const auto client = kube::Client::connect(*config, kind);
    const Json object{{"metadata", {{"name", "n"}}}};
    const auto made = client->create(kube::resources::kNodes, "", object);
    ASSERT_TRUE(made) << made.error().text();
    EXPECT_EQ(runs(), 2U);
    ASSERT_TRUE(client->stream_raw(
        "/", [](std::string_view) { return true; }, 10s));
    EXPECT_EQ(runs(), 2U);
    scripted::Server strict({}, takes("nobody's"));
    const auto elsewhere = load(kubeconfig("{server: '" + strict.url() + "'}", exec()));
    const auto refused =
        kube::Client::connect(*elsewhere, kind)->get(kube::resources::kNodes, "", "n");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, 401);
    EXPECT_EQ(runs(), 4U);
  }
}

// A certificate belongs to a connection: none that was made with the refused one serves on.
TEST_F(Credentials, CertificatesOfAProgramAreShownOnNewConnections) {
  for (const auto kind :
       {kube::Client::TransportKind::kCpprest, kube::Client::TransportKind::kBeast}) {
    plugin();
    fs::remove(directory_ / "runs");
    const auto old = client("old");
    const auto fresh = client("fresh");
    answers({{"clientCertificateData", old.certificate}, {"clientKeyData", old.key}}, "answer-1");
    answers({{"clientCertificateData", fresh.certificate}, {"clientKeyData", fresh.key}});
    scripted::Options options;
    options.identity = test_pki::issue(
        authority(), {"server", {}, {"127.0.0.1"}, test_pki::Purpose::kServer, 24h, ""});
    options.client_ca = authority().certificate;
    scripted::Server server(options, [](scripted::Peer& peer, int) {
      for (std::string got; !(got = peer.read_request()).empty();) {
        const bool known = peer.client_name() == "fresh";
        peer.respond("{}", known ? "200 OK" : "401 Unauthorized");
      }
    });
    const auto config =
        load(kubeconfig("{server: '" + server.url() + "', certificate-authority-data: " +
                            base64(authority().certificate) + "}",
                        exec()));
    ASSERT_TRUE(config) << config.error().text();
    const auto got = kube::Client::connect(*config, kind)->get(kube::resources::kNodes, "", "n");
    ASSERT_TRUE(got) << got.error().text();
    EXPECT_EQ(runs(), 2U);
    EXPECT_EQ(server.accepted(), 2);
  }
}

TEST_F(Credentials, AnswersThatAreNoneAreRefusedByName) {
  const auto ann = client("ann");
  const auto bob = client("bob");
  plugin();
  struct Case {
    Json status;
    const char* says;
  };
  const Case cases[] = {
      {nullptr, "gives no credentials"},
      {Json::object(), "neither a token nor a client certificate"},
      {{{"token", "a\nb"}}, "a token with a line break"},
      {{{"token", 7}}, "neither a token"},
      {{{"clientCertificateData", ann.certificate}}, "half an identity"},
      {{{"clientCertificateData", ann.certificate}, {"clientKeyData", bob.key}}, "is refused: the"},
      {{{"token", "t"}, {"expirationTimestamp", "tomorrow"}}, "no RFC 3339 time"},
      {{{"token", "t"}, {"expirationTimestamp", in(-1h)}}, "have expired"},
  };
  const auto refused = [&](const std::string& user) {
    const auto config = load(kubeconfig("{server: https://a.test}", user));
    if (!config) return config.error().text();
    const auto got = config->credentials->obtain({});
    return got ? "obtained" : got.error().text();
  };
  const std::string where = (directory_ / "config").string() + ": users[u].user.exec";
  for (const auto& [status, says] : cases) {
    answers(status);
    EXPECT_THAT(refused(exec()), testing::AllOf(HasSubstr(says), HasSubstr(where)));
  }
  write("answer", "Please log in");
  EXPECT_THAT(refused(exec()), HasSubstr("did not print an ExecCredential"));
  answers({{"token", "t"}}, "answer", kV1Beta1);
  EXPECT_THAT(refused(exec()), HasSubstr("answers with another apiVersion"));
  plugin("exit 3\n");
  EXPECT_THAT(refused(exec(", installHint: 'see https://help.test'")),
              HasSubstr("ended with exit code 3; what it said stands above, and running it by "
                        "itself says more; see https://help.test"));
  plugin("kill -9 $$\n");
  EXPECT_THAT(refused(exec()), HasSubstr("exit code 137"));
  plugin("head -c 3000000 /dev/zero\n");
  EXPECT_THAT(refused(exec()), HasSubstr("prints more than 1048576 bytes"));
}

TEST_F(Credentials, PluginsThatAreNoneAreRefusedByField) {
  write("bin/plain", "not executable");
  const std::string version = "apiVersion: " + std::string(kV1);
  struct Case {
    std::string user;
    const char* says;
  };
  const Case cases[] = {
      {"{exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}}",
       "user.exec.apiVersion must be"},
      {"{exec: {" + version + "}}", "user.exec.command is missing"},
      {"{exec: {" + version + ", command: x}}", "user.exec.interactiveMode must be"},
      {"{exec: {" + version + ", command: x, interactiveMode: Sometimes}}", "interactiveMode must"},
      {exec(", args: x"), "user.exec.args is no list"},
      {exec(", args: [[x]]"), "user.exec.args is no list"},
      {exec(", env: {a: b}"), "user.exec.env is no list"},
      {exec(", env: [{name: a=b}]"), "user.exec.env is no list"},
      {exec(", provideClusterInfo: 7"), "provideClusterInfo is neither"},
      {"{exec: 7}", "user.exec is missing, or no map"},
      {"{token: t, exec: {" + version + "}}", "user.exec stands beside token"},
      {"{auth-provider: {name: oidc}, exec: {" + version + "}}", "stands beside auth-provider"},
      {"{exec: {" + version + ", command: no-such-program-anywhere, interactiveMode: Never}}",
       "no-such-program-anywhere is not on PATH; install it"},
      {"{exec: {" + version + ", command: ./no-such, interactiveMode: Never}}", "cannot be run"},
      {"{exec: {" + version + ", command: bin/plain, interactiveMode: Never}}", "cannot be run"},
      {"{exec: {" + version + ", command: sh, interactiveMode: Always}}",
       "standard input is no terminal"},
  };
  for (const auto& [user, says] : cases) {
    SCOPED_TRACE(user);
    const auto config = load(kubeconfig("{server: https://a.test}", user));
    const auto got = config ? config->credentials->obtain({}) : std::unexpected(config.error());
    ASSERT_FALSE(got);
    EXPECT_THAT(got.error().text(), HasSubstr(says));
    EXPECT_THAT(got.error().text(), HasSubstr((directory_ / "config").string()));
  }
}

TEST_F(Credentials, ProgramsThatDoNotEndAreEnded) {
  kube::ExecPlugin slow;
  slow.where = "here";
  slow.api_version = kV1;
  slow.command = "sh";
  slow.arguments = {"-c", "sleep 600 & echo $! > " + (directory_ / "child").string() + "; wait"};
  slow.interactive = kube::ExecPlugin::Interactive::kNever;
  slow.longest = 3000ms;
  const auto late = kube::ExecCredentials(slow).obtain({});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().reason, kube::kTransportReasonTimeout);
  EXPECT_THAT(late.error().text(), HasSubstr("here: sh takes longer than 3 s"));
  const std::string child = trimmed(read("child"));
  ASSERT_FALSE(child.empty());
  const auto is_running = [&child] {
    std::ifstream file("/proc/" + child + "/stat");
    const std::string stat{std::istreambuf_iterator<char>(file), {}};
    const auto name = stat.rfind(')');
    return name != std::string::npos && stat.substr(name, 3) != ") Z";
  };
  const auto patience = std::chrono::steady_clock::now() + 20s;
  while (is_running() && std::chrono::steady_clock::now() < patience)
    std::this_thread::sleep_for(10ms);
  EXPECT_FALSE(is_running()) << "what it had started goes on";
  slow.longest = 600s;
  std::stop_source stop;
  std::jthread later([&stop] {
    std::this_thread::sleep_for(200ms);
    stop.request_stop();
  });
  const auto cancelled = kube::ExecCredentials(slow).obtain(stop.get_token());
  ASSERT_FALSE(cancelled);
  EXPECT_TRUE(cancelled.error().is_cancelled());
  // What it leaves behind keeps its output open and nobody waiting.
  answers({{"token", "t"}});
  slow.arguments = {"-c", "sleep 20 & cat " + (directory_ / "answer").string()};
  const auto begun = std::chrono::steady_clock::now();
  const auto got = kube::ExecCredentials(slow).obtain({});
  ASSERT_TRUE(got) << got.error().text();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 15s);
}

// Whom the server is asked to take us for stands in each request, and in that of a terminal.
TEST_F(Credentials, ImpersonationIsSaidAsKubectlSaysIt) {
  std::atomic<scripted::Server*> self = nullptr;
  scripted::Server server({}, [&self](scripted::Peer& peer, int) {
    while (self.load() == nullptr)
      std::this_thread::yield();
    for (std::string got; !(got = peer.read_request()).empty();) {
      self.load()->note(got);
      const bool upgrade = got.find("Upgrade: websocket") != std::string::npos;
      peer.respond("{}", upgrade ? "403 Forbidden" : "200 OK");
    }
  });
  self = &server;
  const auto config = load(kubeconfig(
      "{server: '" + server.url() + "'}",
      "{token: t0, as: 'jane doe', as-uid: u-1, as-groups: [dev, 'a, b'], as-user-extra: "
      "{'example.org/Scopes%': [view, edit], reason: [x]}}"));
  ASSERT_TRUE(config) << config.error().text();
  for (const auto kind :
       {kube::Client::TransportKind::kCpprest, kube::Client::TransportKind::kBeast}) {
    const auto got = kube::Client::connect(*config, kind)->get(kube::resources::kNodes, "", "n");
    ASSERT_TRUE(got) << got.error().text();
  }
  kube::Attachment attachment(*config, {"ns", "p", "c", 30s, 30s});
  const auto end = attachment.run([] {}, [](std::string_view) {});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, 403) << end.error().text();
  const auto asked = server.notes();
  ASSERT_EQ(asked.size(), 3U);
  for (const std::string& request : asked) {
    std::vector<std::string> said;
    std::istringstream lines(request);
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("Impersonate-") || line.starts_with("Authorization"))
        said.push_back(line.substr(0, line.size() - 1));
    }
    EXPECT_THAT(said,
                testing::UnorderedElementsAre("Authorization: Bearer t0",
                                              "Impersonate-User: jane doe", "Impersonate-Uid: u-1",
                                              "Impersonate-Group: dev", "Impersonate-Group: a, b",
                                              "Impersonate-Extra-example.org%2FScopes%25: view",
                                              "Impersonate-Extra-example.org%2FScopes%25: edit",
                                              "Impersonate-Extra-reason: x"));
  }
}

TEST_F(Credentials, WhomToActAsMayBeSaidBesideTheFile) {
  const auto file =
      kubeconfig("{server: https://a.test}", "{token: t, as: ann, as-uid: u, as-groups: [x, y]}");
  kube::Impersonation as;
  as.user = "bob";
  as.groups = {"z"};
  const auto config = kube::load_config(file, "", as);
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->impersonation.user, "bob");
  EXPECT_EQ(config->impersonation.uid, "u") << "as with kubectl, each by itself";
  EXPECT_EQ(config->impersonation.groups, std::vector<std::string>{"z"});
  as.user.clear();
  const auto nobodys =
      kube::load_config(kubeconfig("{server: https://a.test}", "{token: t}"), "", as);
  ASSERT_FALSE(nobodys);
  EXPECT_THAT(nobodys.error().text(), HasSubstr("name the user too: --as"));
  // What a header cannot hold is never sent.
  as.user = "eve\r\nAuthorization: Bearer x";
  const auto broken = kube::load_config(file, "", as);
  ASSERT_TRUE(broken);
  EXPECT_THAT(kube::Client::connect(*broken)->get(kube::resources::kNodes, "", "n").error().text(),
              HasSubstr("Impersonate-User has a control character"));
  kube::Attachment attachment(*broken, {"ns", "p", "c", 30s, 30s});
  EXPECT_THAT(attachment.run([] {}, [](std::string_view) {}).error().text(),
              HasSubstr("Impersonate-User has a control character"));
}

TEST_F(Credentials, UserAndPasswordAreShown) {
  scripted::Server server({}, [](scripted::Peer& peer, int) {
    for (std::string got; !(got = peer.read_request()).empty();) {
      const bool known = got.find("Basic " + base64("ann:p:w") + "\r\n") != std::string::npos;
      peer.respond("{}", known ? "200 OK" : "401 Unauthorized");
    }
  });
  const auto config =
      load(kubeconfig("{server: '" + server.url() + "'}", "{username: ann, password: 'p:w'}"));
  ASSERT_TRUE(config) << config.error().text();
  for (const auto kind :
       {kube::Client::TransportKind::kCpprest, kube::Client::TransportKind::kBeast}) {
    const auto got = kube::Client::connect(*config, kind)->get(kube::resources::kNodes, "", "n");
    EXPECT_TRUE(got) << got.error().text();
  }
}

}  // namespace
