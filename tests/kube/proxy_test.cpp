// The way through an HTTP proxy, and when there is one.
#include "proxy.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/attach.h>
#include <kube/client.h>

#include "kube/config_fixture.h"
#include "kube/connect_proxy.h"

namespace {

using namespace std::chrono_literals;
using namespace config_testing;
using kube::Json;
using kube::Url;
using testing::HasSubstr;

TEST(Proxy, UrlsAreReadAndNeverRepeated) {
  struct Good {
    const char* text;
    const char* authority;
    const char* user;
  };
  for (const auto& [text, authority, user] :
       {Good{"http://p.test:3128", "p.test:3128", ""}, Good{"p.test:3128", "p.test:3128", ""},
        Good{"HTTP://p.test/", "p.test:80", ""}, Good{"http://[::1]:8080", "[::1]:8080", ""},
        Good{"http://ann:p%40ss%3A@p.test", "p.test:80", "ann:p@ss:"}}) {
    const auto proxy = kube::parse_proxy(text);
    ASSERT_TRUE(proxy) << text << proxy.error().text();
    EXPECT_EQ(proxy->authority(), authority);
    EXPECT_EQ(proxy->authorization, *user == '\0' ? "" : "Basic " + base64(user)) << text;
  }
  for (const char* text :
       {"", "https://secret.test", "socks5://secret.test", "http://secret.test/path",
        "http://secret@p.test", "http://a:secret%4@p.test", "http://a:secret%zz@p.test",
        "http://a:secret@", "http://secret.test:0", "http://secret.test:x", "http://secret test",
        "http://secret\r\n.test", "http://secret.test?x"}) {
    const auto proxy = kube::parse_proxy(text);
    ASSERT_FALSE(proxy) << text;
    EXPECT_THAT(proxy.error().text(), testing::Not(HasSubstr("secret")));
  }
}

TEST(Proxy, NoProxyIsReadAsKubectlDoes) {
  struct Case {
    const char* list;
    Url server;
    bool bypasses;
  };
  const Url host{true, "api.a.test", "6443", ""};
  const Url v4{true, "10.1.2.3", "443", ""};
  const Url v6{true, "fd00::7", "443", ""};
  for (const auto& [list, server, bypasses] : {
           Case{"", host, false},
           Case{"*", host, true},
           Case{"b.test, A.Test", host, true},
           Case{"api.a.test", host, true},
           Case{"pi.a.test", host, false},
           Case{".a.test", host, true},
           Case{".api.a.test", host, false},
           Case{"*.a.test", host, true},
           Case{"a.test:6443", host, true},
           Case{"a.test:443", host, false},
           Case{"", {true, "api.a.test.", "443", ""}, false},
           Case{"a.test", {true, "api.a.test.", "443", ""}, true},
           Case{"10.1.2.3", v4, true},
           Case{"10.1.2.3:443", v4, true},
           Case{"10.1.2.3:80", v4, false},
           Case{"10.0.0.0/8", v4, true},
           Case{"10.1.2.0/31", v4, false},
           Case{"10.1.2.2/31", v4, true},
           Case{"0.0.0.0/0", v4, true},
           Case{"10.0.0.0/33", v4, false},
           Case{"10.0.0.0/x", v4, false},
           Case{"10.0.0.0/8", host, false},
           Case{"::/0", v4, false},
           Case{"fd00::/16", v6, true},
           Case{"[fd00::7]", v6, true},
           Case{"[fd00::7]:443", v6, true},
           Case{"[fd00::7]:80", v6, false},
           Case{"fd00::7", v6, true},
           Case{"3", v4, false},
           Case{",, ,", host, false},
           Case{"", {true, "localhost", "443", ""}, true},
           Case{"", {true, "127.8.8.8", "443", ""}, true},
           Case{"", {true, "::1", "443", ""}, true},
       }) {
    EXPECT_EQ(kube::bypasses_proxy(list, server), bypasses) << list << " " << server.host;
  }
}

TEST(Proxy, EnvironmentIsReadInEitherCase) {
  std::map<std::string, std::string> variables{{"https_proxy", "http://small.test"},
                                               {"no_proxy", "b.test"}};
  const auto environment = [&variables](const char* name) { return variables[name]; };
  const auto proxy = [&](const std::string& host) {
    const auto got = kube::proxy_of_environment({true, host, "443", ""}, environment);
    return !got ? got.error().text() : *got ? (*got)->authority() : "none";
  };
  EXPECT_EQ(proxy("a.test"), "small.test:80");
  EXPECT_EQ(proxy("b.test"), "none");
  variables["HTTPS_PROXY"] = "large.test:1";
  variables["NO_PROXY"] = "c.test";
  EXPECT_EQ(proxy("b.test"), "large.test:1");
  EXPECT_EQ(proxy("c.test"), "none");
  variables["HTTPS_PROXY"] = "https://x";
  EXPECT_THAT(proxy("a.test"), HasSubstr("HTTPS_PROXY names no http:// proxy"));
  EXPECT_FALSE(*kube::proxy_of_environment({false, "a.test", "80", ""}, environment));
}

// Nobody here could resolve the server's name: the proxy does.
class Tunnel : public ConfigTest {
 protected:
  Tunnel() {
    scripted::Options options;
    options.identity = test_pki::issue(
        authority(), {"server", {"api.test"}, {}, test_pki::Purpose::kServer, 24h, ""});
    server_ = std::make_unique<scripted::Server>(options, [](scripted::Peer& peer, int) {
      for (std::string got; !(got = peer.read_request()).empty();) {
        const bool told = got.find("Proxy-Authorization") != std::string::npos;
        if (got.find("Upgrade: websocket") != std::string::npos)
          peer.respond(R"({"kind":"Status","reason":"Forbidden","message":"no"})", "403 Forbidden");
        else
          peer.respond(Json{{"sni", peer.server_name()}, {"told", told}}.dump());
      }
    });
  }
  kube::Config config(const scripted::Server& proxy, const std::string& user = "") {
    auto out = load(kubeconfig("{server: 'https://api.test:6443', proxy-url: 'http://" + user +
                               "127.0.0.1:" + proxy.port() + "', certificate-authority-data: " +
                               base64(authority().certificate) + "}"));
    EXPECT_TRUE(out) << out.error().text();
    return out.value_or(kube::Config());
  }
  kube::Result<Json> get(const kube::Config& config) {
    // cpprestsdk is asked for and knows no proxy.
    return kube::Client::connect(config)->get(kube::resources::kNodes, "", "n");
  }
  std::unique_ptr<scripted::Server> server_;
};

TEST_F(Tunnel, GoesToTheServerItself) {
  const auto proxy = scripted::connect_proxy(std::stoi(server_->port()));
  const auto through = config(*proxy, "ann:secret@");
  const auto got = get(through);
  ASSERT_TRUE(got) << got.error().text();
  EXPECT_EQ(*got, Json({{"sni", "api.test"}, {"told", false}}));
  kube::Attachment attachment(through, {"ns", "p", "c", 30s, 30s});
  const auto end = attachment.run([] {}, [](std::string_view) {});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, 403) << end.error().text();
  const auto asked = proxy->notes();
  ASSERT_EQ(asked.size(), 2U);
  for (const std::string& head : asked) {
    EXPECT_THAT(head, testing::StartsWith("CONNECT api.test:6443 HTTP/1.1\r\n"));
    EXPECT_THAT(head, HasSubstr("Host: api.test:6443\r\n"));
    EXPECT_THAT(head, HasSubstr("Proxy-Authorization: Basic " + base64("ann:secret") + "\r\n"));
  }
}

TEST_F(Tunnel, RefusalsSayWhoseTheyAre) {
  struct Case {
    std::string answer;
    const char* user;
    const char* says;
  };
  for (const auto& [answer, user, says] :
       {Case{"407 Authenticate", "", "wants a user and a password"},
        Case{"407 Authenticate", "ann:secret@", "does not take the user and the password"},
        Case{"403 Forbidden", "", "answers 403 to CONNECT: it must allow the API server's host"},
        Case{"101 Switching", "", "answers 101"},
        Case{"200 OK\r\nX: " + std::string(20'000, 'x'), "", "CONNECT by the proxy"},
        Case{"200 OK\r\n\r\nhello", "", "speaks before"}}) {
    SCOPED_TRACE(answer.substr(0, 20));
    scripted::Server proxy({}, [answer](scripted::Peer& peer, int) {
      peer.read_request();
      peer.write("HTTP/1.1 " + answer + "\r\n\r\n");
      peer.wait_for_close();
    });
    const auto through = config(proxy, user);
    const auto refused = get(through);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, 0);
    EXPECT_THAT(refused.error().text(), HasSubstr(says));
    EXPECT_THAT(refused.error().text(), HasSubstr("127.0.0.1:" + proxy.port()));
    EXPECT_THAT(refused.error().text(), testing::Not(HasSubstr("secret")));
    kube::Attachment attachment(through, {"ns", "p", "c", 30s, 30s});
    const auto end = attachment.run([] {}, [](std::string_view) {});
    ASSERT_FALSE(end);
    EXPECT_THAT(end.error().text(), HasSubstr(says));
  }
}

// The certificate is the server's: a proxy that opens the connection is no server.
TEST_F(Tunnel, AProxyThatPlaysTheServerIsFoundOut) {
  scripted::Options options;
  options.identity =
      test_pki::issue(test_pki::make_ca("other"),
                      {"server", {"api.test"}, {}, test_pki::Purpose::kServer, 24h, ""});
  scripted::Server impostor(options, [](scripted::Peer& peer, int) { peer.respond("{}"); });
  const auto proxy = scripted::connect_proxy(std::stoi(impostor.port()));
  const auto refused = get(config(*proxy));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, kube::kTransportReasonTls) << refused.error().text();
}

// close() reaches an attachment before it has an address.
TEST(AttachmentLookup, EndsWhenItIsClosed) {
  kube::Config config;
  config.server = "https://no-such-host.invalid:6443";
  kube::Attachment attachment(config, {"ns", "p", "c", 30s, 30s});
  attachment.close();
  const auto end = attachment.run([] {}, [](std::string_view) {});
  ASSERT_FALSE(end);
  EXPECT_TRUE(end.error().is_cancelled()) << end.error().text();
}

}  // namespace
