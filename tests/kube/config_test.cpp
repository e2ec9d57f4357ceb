// Where the API server is and who we are, from a kubeconfig or a pod; what is not understood is
// refused.
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <kube/client.h>
#include <kube/config.h>

#include "kube/config_fixture.h"
#include "kube/scripted_server.h"
#include "kube/test_pki.h"

namespace {

using namespace std::chrono_literals;
using namespace config_testing;
namespace fs = std::filesystem;
using kube::Config;
using testing::HasSubstr;

TEST_F(ConfigTest, ContextPicksClusterUserAndNamespace) {
  const auto file = write("config", R"(
apiVersion: v1
kind: Config
current-context: one
preferences: {}
clusters:
- {name: alpha, cluster: {server: "https://alpha.test:6443"}}
- {name: beta, cluster: {server: "https://beta.test/prefix/", tls-server-name: api.test, insecure-skip-tls-verify: true}}
users:
- {name: ann, user: {token: ann-token}}
- {name: bob, user: {token: bob-token}}
contexts:
- {name: one, context: {cluster: alpha, user: ann}}
- {name: two, context: {cluster: beta, user: bob, namespace: team}}
- {name: nobody, context: {cluster: alpha}}
)");
  const auto one = load(file);
  ASSERT_TRUE(one) << one.error().text();
  EXPECT_EQ(one->server, "https://alpha.test:6443");
  EXPECT_EQ(one->path_prefix, "");
  EXPECT_EQ(one->namespace_, "default");
  EXPECT_EQ(one->server_name, "");
  EXPECT_FALSE(one->insecure_skip_verify);
  EXPECT_EQ(one->bearer_token(), "ann-token");
  const auto two = load(file, "two");
  ASSERT_TRUE(two) << two.error().text();
  EXPECT_EQ(two->server, "https://beta.test");
  EXPECT_EQ(two->path_prefix, "/prefix");
  EXPECT_EQ(two->namespace_, "team");
  EXPECT_EQ(two->server_name, "api.test");
  EXPECT_TRUE(two->insecure_skip_verify);
  EXPECT_EQ(two->bearer_token(), "bob-token");
  const auto nobody = load(file, "nobody");
  ASSERT_TRUE(nobody) << nobody.error().text();
  EXPECT_FALSE(nobody->bearer_token && !nobody->bearer_token().empty());
}

TEST_F(ConfigTest, DataGoesBeforeFilesAndFilesAreRelativeToTheConfig) {
  const auto ann = client("ann");
  const auto bob = client("bob");
  write("pki/ca.pem", authority().certificate);
  write("pki/bob.pem", bob.certificate);
  write("pki/bob-key.pem", bob.key);
  const std::string server = "server: https://a.test";
  const auto by_file =
      load(kubeconfig("{" + server + ", certificate-authority: pki/ca.pem}",
                      "{client-certificate: pki/bob.pem, client-key: pki/bob-key.pem}"));
  ASSERT_TRUE(by_file) << by_file.error().text();
  EXPECT_EQ(by_file->tls_material().ca, authority().certificate);
  EXPECT_EQ(by_file->tls_material().certificate, bob.certificate);
  EXPECT_EQ(by_file->tls_material().key, bob.key);
  const auto by_data = load(
      kubeconfig("{" + server + ", certificate-authority: /none, certificate-authority-data: " +
                     base64(authority().certificate) + "}",
                 "{client-certificate: /none, client-key: /none, client-certificate-data: " +
                     base64(ann.certificate) + ", client-key-data: " + base64(ann.key) + "}"));
  ASSERT_TRUE(by_data) << by_data.error().text();
  EXPECT_EQ(by_data->tls_material().ca, authority().certificate);
  EXPECT_EQ(by_data->tls_material().certificate, ann.certificate);
  EXPECT_EQ(by_data->tls_material().key, ann.key);
}

TEST_F(ConfigTest, WhatIsNotSupportedOrBrokenIsRefusedByName) {
  const auto ann = client("ann");
  const auto bob = client("bob");
  write("empty", "");
  write("blank", " \n");
  write("text", "not PEM");
  write("ann.pem", ann.certificate);
  write("ann-key.pem", ann.key);
  write("bob-key.pem", bob.key);
  const std::string fine = "{server: https://a.test}";
  struct Case {
    std::string cluster;
    std::string user;
    const char* says;
  };
  const Case cases[] = {
      {fine, "{exec: {command: aws}}", "users[u].user.exec.apiVersion must be"},
      {fine, "{auth-provider: {name: gcp}}", "auth-provider.name \"gcp\" is not supported"},
      {fine, "{username: a, password: b, token: t}", "username stands beside a token"},
      {fine, "{password: b, tokenFile: text}", "password stands beside a token"},
      {fine, "{exec: {command: x}, username: a}", "exec stands beside username"},
      {fine, "{token: t, as-uid: x}", "a uid, group or extra to act with is nobody's"},
      {fine, "{token: t, as-groups: [x]}", "name the user too"},
      {fine, "{token: t, as-user-extra: {a: [b]}}", "name the user too"},
      {fine, "{token: t, as: x, as-groups: y}", "users[u].user.as-groups is no list"},
      {fine, "{token: t, as: x, as-groups: [[y]]}", "as-groups is no list"},
      {fine, "{token: t, as: x, as-user-extra: [y]}", "as-user-extra is no map"},
      {fine, "{token: t, as: x, as-user-extra: {a: b}}", "as-user-extra is no map"},
      {fine, "{tokenFile: none}", "tokenFile"},
      {fine, "{tokenFile: blank}", "empty"},
      {fine, "{tokenFile: .}", "is a directory"},
      {fine, "{client-certificate: ann.pem}", "client-key is missing"},
      {fine, "{client-key: ann-key.pem}", "client-certificate is missing"},
      {fine, "{client-certificate: ann.pem, client-key: bob-key.pem}", "client-key is refused"},
      {fine, "{client-certificate: text, client-key: ann-key.pem}", "not a PEM certificate"},
      {fine, "{client-certificate-data: '!', client-key: ann-key.pem}", "is not base64"},
      {"{server: https://a.test, proxy-url: 'ftp://u:secret@p.test'}", "{}",
       "clusters[k].cluster.proxy-url must be http://[USER"},
      {"{server: https://a.test, proxy-url: 'http://u:secret@p.test:x'}", "{}",
       "clusters[k].cluster.proxy-url must be http://[USER"},
      {"{server: 'http://127.0.0.1:1', proxy-url: 'http://p.test'}", "{}",
       "proxy-url goes with an https:// server only"},
      {"{server: https://a.test, disable-compression: often}", "{}", "neither true nor false"},
      {"{server: https://a.test, certificate-authority: empty}", "{}", "not a PEM certificate"},
      {"{server: https://a.test, certificate-authority: none}", "{}", "cannot be read"},
      {"{server: https://a.test, certificate-authority-data: eA==}", "{}", "not a PEM certificate"},
      {"{server: https://a.test, certificate-authority: ann.pem, insecure-skip-tls-verify: true}",
       "{}", "contradicts"},
      {"{server: https://a.test, insecure-skip-tls-verify: maybe}", "{}", "neither true nor false"},
      {"{server: 'http://a.test'}", "{}", "loopback only"},
      {"{server: 'https://user:pass@a.test'}", "{}", "cluster.server"},
      {"{server: a.test}", "{}", "cluster.server"},
      {"{}", "{}", "cluster.server"}};
  for (const auto& [cluster, user, says] : cases) {
    SCOPED_TRACE(cluster + " " + user);
    const auto refused = load(kubeconfig(cluster, user));
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text(), HasSubstr(says));
    EXPECT_THAT(refused.error().text(), HasSubstr((directory_ / "config").string()));
    EXPECT_THAT(refused.error().text(), testing::Not(HasSubstr("secret")));
  }
}

TEST_F(ConfigTest, FileThatIsNoKubeconfigIsRefused) {
  struct Case {
    std::string text;
    const char* context;
    const char* says;
  };
  for (const auto& [text, context, says] :
       {Case{"a: [", "", "line 1"}, Case{"", "", "not a kubeconfig"},
        Case{"- a", "", "not a kubeconfig"}, Case{"a: b", "", "current-context is not set"},
        Case{"current-context: x", "", "no entry named \"x\""},
        Case{"contexts: [{name: x, context: {cluster: y}}]", "x", "no entry named \"y\""},
        Case{"contexts: [{name: x}]", "x", "contexts[x].context is missing"},
        Case{"contexts: [7, {name: x, context: 7}]", "x", "is missing"},
        Case{"contexts: {x: y}", "x", "no entry named"}}) {
    SCOPED_TRACE(text);
    const auto refused = load(write("config", text), context);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, "InvalidConfiguration");
    EXPECT_THAT(refused.error().text(), HasSubstr(says));
  }
  EXPECT_THAT(load(directory_ / "absent").error().text(), HasSubstr("absent: cannot be read"));
}

// KUBECONFIG with several files: the first one's entry counts, whole, and its paths are its own.
TEST_F(ConfigTest, FilesAreMergedEntryByEntry) {
  write("one/token", "first's");
  write("two/token", "second's");
  const auto one = write("one/config", R"(
users: [{name: u, user: {tokenFile: token}}]
contexts: [{name: c, context: {cluster: k, user: u, namespace: here}}]
)");
  const auto empty = write("empty", "");
  const auto two = write("two/config", R"(
current-context: c
clusters: [{name: k, cluster: {server: "https://two.test"}}]
users: [{name: u, user: {token: never}}, {name: v, user: {tokenFile: token}}]
contexts:
- {name: c, context: {cluster: none, user: v, namespace: there}}
- {name: d, context: {cluster: k, user: v}}
)");
  const auto three =
      write("three", "{current-context: d, clusters: [{name: k, cluster: {server: x}}]}");
  setenv("KUBECONFIG",
         (":" + one.string() + "::/none/at/all:" + empty.string() + ":" + two.string() + ":" +
          three.string())
             .c_str(),
         1);
  const auto current = kube::load_config();
  ASSERT_TRUE(current) << current.error().text();
  EXPECT_EQ(current->server, "https://two.test");
  EXPECT_EQ(current->namespace_, "here");
  EXPECT_EQ(current->bearer_token(), "first's");
  const auto other = kube::load_config({}, "d");
  ASSERT_TRUE(other) << other.error().text();
  EXPECT_EQ(other->namespace_, "default");
  EXPECT_EQ(other->bearer_token(), "second's");
  const auto unknown = kube::load_config({}, "e");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().text(), HasSubstr(two.string() + ", " + three.string() +
                                                ": contexts has no entry named \"e\""));
  setenv("KUBECONFIG", "/none/a:/none/b", 1);
  EXPECT_THAT(kube::load_config().error().text(),
              HasSubstr("/none/a, /none/b: none of these files is there"));
  write("three", "[");
  setenv("KUBECONFIG", (two.string() + ":" + three.string()).c_str(), 1);
  EXPECT_THAT(kube::load_config().error().text(), HasSubstr("three: line 1"));
}

TEST_F(ConfigTest, ProxiesComeFromTheClusterOrTheEnvironment) {
  setenv("HTTPS_PROXY", "http://ann:pass%20word@env.test:3128", 1);
  setenv("NO_PROXY", "b.test", 1);
  const auto own = load(kubeconfig("{server: https://a.test, proxy-url: 'http://own.test'}"));
  ASSERT_TRUE(own) << own.error().text();
  ASSERT_TRUE(own->proxy);
  EXPECT_EQ(own->proxy->authority(), "own.test:80");
  EXPECT_FALSE(own->proxy->login);
  const auto inherited = load(kubeconfig("{server: https://a.test}"));
  ASSERT_TRUE(inherited && inherited->proxy);
  EXPECT_EQ(inherited->proxy->authority(), "env.test:3128");
  ASSERT_TRUE(inherited->proxy->login);
  EXPECT_EQ(inherited->proxy->login->password, "pass word");
  for (const char* server : {"https://b.test", "https://x.b.test:6443", "https://127.0.0.1:6443",
                             "http://localhost:8080"}) {
    const auto straight = load(kubeconfig(std::string("{server: '") + server + "'}"));
    ASSERT_TRUE(straight) << straight.error().text();
    EXPECT_FALSE(straight->proxy) << server;
  }
  setenv("HTTPS_PROXY", "ftp://ann:password@env.test", 1);
  const auto refused = load(kubeconfig("{server: https://a.test}"));
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), HasSubstr("HTTPS_PROXY must be http://"));
  EXPECT_THAT(refused.error().text(), testing::Not(HasSubstr("password")));
}

TEST_F(ConfigTest, TokenFileGoesBeforeTokenAndIsReadAgainEachMinute) {
  write("token", "first\n");
  const auto config = load(kubeconfig("{server: https://a.test}", "{token: x, tokenFile: token}"));
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->bearer_token(), "first");
  write("token", "second");
  seconds_ += 59;
  EXPECT_EQ(config->bearer_token(), "first") << "not more often";
  seconds_ += 2;
  EXPECT_EQ(config->bearer_token(), "second");
  // Half rotated: the last good one stays.
  write("token", " \n");
  seconds_ += 61;
  EXPECT_EQ(config->bearer_token(), "second");
  fs::remove(directory_ / "token");
  seconds_ += 61;
  EXPECT_EQ(config->bearer_token(), "second");
  write("token", "third");
  seconds_ += 61;
  EXPECT_EQ(config->bearer_token(), "third");
}

TEST_F(ConfigTest, TokenServesUntilItsFileIsThere) {
  const auto config =
      load(kubeconfig("{server: https://a.test}", "{token: x, tokenFile: later/token}"));
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->bearer_token(), "x");
  write("later/token", "first");
  seconds_ += 61;
  EXPECT_EQ(config->bearer_token(), "first");
}

TEST_F(ConfigTest, CertificateAndKeyRotateTogether) {
  const auto first = client("first");
  const auto second = client("second");
  const auto next = test_pki::make_ca("next");
  write("ca.pem", authority().certificate);
  write("c.pem", first.certificate);
  write("k.pem", first.key);
  const auto config = load(kubeconfig("{server: https://a.test, certificate-authority: ca.pem}",
                                      "{client-certificate: c.pem, client-key: k.pem}"));
  ASSERT_TRUE(config) << config.error().text();
  write("c.pem", second.certificate);
  write("ca.pem", "half writ");
  seconds_ += 61;
  EXPECT_EQ(config->tls_material().certificate, first.certificate) << "its key is not there yet";
  EXPECT_EQ(config->tls_material().key, first.key);
  EXPECT_EQ(config->tls_material().ca, authority().certificate);
  write("k.pem", second.key);
  write("ca.pem", next.certificate);
  seconds_ += 61;
  EXPECT_EQ(config->tls_material().certificate, second.certificate);
  EXPECT_EQ(config->tls_material().key, second.key);
  EXPECT_EQ(config->tls_material().ca, next.certificate);
}

class InClusterTest : public ConfigTest {
 protected:
  InClusterTest() {
    setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    write("token", "first\n");
    write("ca.crt", authority().certificate);
    write("namespace", "palisade-system\n");
  }
  kube::Result<Config> load() { return kube::load_in_cluster(directory_, clock()); }
};

TEST_F(InClusterTest, PodsAccountIsUsed) {
  const auto config = load();
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->server, "https://10.96.0.1:443");
  EXPECT_EQ(config->namespace_, "palisade-system");
  EXPECT_EQ(config->bearer_token(), "first");
  EXPECT_EQ(config->tls_material().ca, authority().certificate);
  EXPECT_EQ(config->tls_material().certificate, "");
  setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  EXPECT_EQ(load()->server, "https://[fd00::1]:443");
  fs::remove(directory_ / "namespace");
  EXPECT_EQ(load()->namespace_, "default");
}

// The kubelet swaps a symbolic link to a new directory.
TEST_F(InClusterTest, ProjectedTokenIsReadAgainAsItRotates) {
  const auto next = test_pki::make_ca("next");
  write("one/token", "first");
  write("one/ca.crt", authority().certificate);
  write("two/token", "second");
  write("two/ca.crt", next.certificate);
  const fs::path account = directory_ / "account";
  fs::create_directory(account);
  fs::create_directory_symlink("../one", account / "..data");
  fs::create_symlink("..data/token", account / "token");
  fs::create_symlink("..data/ca.crt", account / "ca.crt");
  const auto config = kube::load_in_cluster(account, clock());
  ASSERT_TRUE(config) << config.error().text();
  EXPECT_EQ(config->bearer_token(), "first");
  fs::create_directory_symlink("../two", account / "..data_tmp");
  fs::rename(account / "..data_tmp", account / "..data");
  EXPECT_EQ(config->bearer_token(), "first");
  seconds_ += 61;
  EXPECT_EQ(config->bearer_token(), "second");
  EXPECT_EQ(config->tls_material().ca, next.certificate);
}

TEST_F(InClusterTest, BrokenAccountIsRefusedByFile) {
  write("token", "");
  EXPECT_THAT(load().error().text(), HasSubstr("token: is empty"));
  fs::remove(directory_ / "token");
  EXPECT_THAT(load().error().text(), HasSubstr("token: cannot be read"));
  write("token", "t");
  write("ca.crt", "");
  EXPECT_THAT(load().error().text(), HasSubstr("ca.crt: is not a PEM certificate"));
  write("ca.crt", authority().certificate);
  setenv("KUBERNETES_SERVICE_PORT", "x", 1);
  EXPECT_FALSE(load());
  unsetenv("KUBERNETES_SERVICE_PORT");
  EXPECT_THAT(load().error().text(), HasSubstr("not in a pod"));
}

// As kubectl: the pod's account is what is left where no kubeconfig is there.
TEST_F(InClusterTest, FilesGoBeforeThePod) {
  const auto file = kubeconfig("{server: https://explicit.test}");
  EXPECT_EQ(kube::load_config(file)->server, "https://explicit.test");
  // The pod's own directory is not there.
  constexpr const char* kAccount = "/var/run/secrets/kubernetes.io/serviceaccount";
  EXPECT_THAT(kube::load_config().error().text(), HasSubstr(kAccount));
  setenv("KUBECONFIG", "/none/a:/none/b", 1);
  EXPECT_THAT(kube::load_config().error().text(), HasSubstr(kAccount));
  setenv("KUBECONFIG", (file.string() + ":/none").c_str(), 1);
  EXPECT_EQ(kube::load_config()->server, "https://explicit.test");
  unsetenv("KUBECONFIG");
  fs::create_directory(directory_ / ".kube");
  fs::rename(file, directory_ / ".kube" / "config");
  EXPECT_EQ(kube::load_config()->server, "https://explicit.test");
}

// All of it together: connect() with tls-server-name, a client certificate, a token and an IPv6
// literal works with either transport.
TEST_F(ConfigTest, ConnectsAsTheKubeconfigSays) {
  for (const bool ipv6 : {false, true}) {
    for (const auto kind :
         {kube::Client::TransportKind::kCpprest, kube::Client::TransportKind::kBeast}) {
      SCOPED_TRACE(ipv6);
      scripted::Options options;
      options.identity = test_pki::issue(
          authority(), {"server", {"api.test"}, {}, test_pki::Purpose::kServer, 24h, ""});
      options.client_ca = authority().certificate;
      options.ipv6 = ipv6;
      std::unique_ptr<scripted::Server> server;
      try {
        server = std::make_unique<scripted::Server>(options, [](scripted::Peer& peer, int) {
          for (std::string got; !(got = peer.read_request()).empty();) {
            const bool token = got.find("Bearer t0ken\r\n") != std::string::npos;
            peer.respond("{\"who\":\"" + peer.client_name() + "\",\"sni\":\"" + peer.server_name() +
                         "\",\"token\":" + (token ? "true" : "false") + "}");
          }
        });
      } catch (const boost::system::system_error& error) {
        ASSERT_TRUE(ipv6) << error.what();
        GTEST_SKIP() << "no IPv6 on loopback: " << error.what();
      }
      const auto ann = client("ann");
      const auto config =
          load(kubeconfig("{server: '" + server->url() +
                              "', tls-server-name: api.test, certificate-authority-data: " +
                              base64(authority().certificate) + "}",
                          "{token: t0ken, client-certificate-data: " + base64(ann.certificate) +
                              ", client-key-data: " + base64(ann.key) + "}"));
      ASSERT_TRUE(config) << config.error().text();
      const auto answer =
          kube::Client::connect(*config, kind)->get(kube::resources::kNodes, "", "n");
      ASSERT_TRUE(answer) << answer.error().text();
      EXPECT_EQ(*answer, kube::Json({{"who", "ann"}, {"sni", "api.test"}, {"token", true}}));
    }
  }
}

}  // namespace
