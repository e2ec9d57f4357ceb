// The way through an HTTP proxy, and when there is one.
#include "proxy.h"

#include <array>
#include <charconv>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/sha.h>

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
  using Kind = kube::Proxy::Kind;
  struct Good {
    const char* text;
    Kind kind;
    const char* authority;
    const char* login;  // "" for none
  };
  for (const auto& [text, kind, authority, login] :
       {Good{"http://p.test:3128", Kind::kHttp, "p.test:3128", ""},
        Good{"p.test:3128", Kind::kHttp, "p.test:3128", ""},
        Good{"HTTP://p.test/", Kind::kHttp, "p.test:80", ""},
        Good{"http://p.test:80/path", Kind::kHttp, "p.test:80", ""},
        Good{"http://[::1]:8080", Kind::kHttp, "[::1]:8080", ""},
        Good{"https://p.test", Kind::kHttps, "p.test:443", ""},
        Good{"https://p.test:80", Kind::kHttps, "p.test:80", ""},
        Good{"https://[::1]", Kind::kHttps, "[::1]:443", ""},
        Good{"socks5://p.test", Kind::kSocks5, "p.test:1080", ""},
        Good{"socks5h://ann:x@p.test:9050", Kind::kSocks5, "p.test:9050", "ann|x"},
        Good{"http://ann@p.test", Kind::kHttp, "p.test:80", "ann|"},
        Good{"http://ann:p%40ss%3A@p.test", Kind::kHttp, "p.test:80", "ann|p@ss:"}}) {
    const auto proxy = kube::parse_proxy(text);
    ASSERT_TRUE(proxy) << text << proxy.error().text();
    EXPECT_EQ(proxy->kind, kind) << text;
    EXPECT_EQ(proxy->authority(), authority);
    EXPECT_EQ(proxy->login ? proxy->login->user + "|" + proxy->login->password : "", login) << text;
  }
  for (const char* text :
       {"", "ftp://secret.test", "socks4://secret.test", "http://a:secret%4@p.test",
        "http://a:secret%zz@p.test", "http://secret%4@p.test", "http://a:secret@",
        "http://secret.test:0", "http://secret.test:x", "http://secret test",
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
  variables["HTTPS_PROXY"] = "socks5://x";
  EXPECT_EQ(proxy("a.test"), "x:1080");
  variables["HTTPS_PROXY"] = "gopher://x";
  EXPECT_THAT(proxy("a.test"), HasSubstr("HTTPS_PROXY must be http://"));
  variables["HTTP_PROXY"] = "http://never.test";
  EXPECT_FALSE(*kube::proxy_of_environment({false, "a.test", "80", ""}, environment));
}

// What a server answers to the key of an upgrade.
std::string accepted(const std::string& request) {
  constexpr std::string_view kName = "Sec-WebSocket-Key: ";
  const auto at = request.find(kName) + kName.size();
  const std::string key =
      request.substr(at, request.find("\r\n", at) - at) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  std::string digest(SHA_DIGEST_LENGTH, '\0');
  SHA1(reinterpret_cast<const unsigned char*>(key.data()), key.size(),
       reinterpret_cast<unsigned char*>(digest.data()));
  return base64(digest);
}
std::string frame(char kind, const std::string& text) {
  return std::string(1, kind) + static_cast<char>(text.size()) + text;
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
        if (got.find("Bearer t0ken\r\n") == std::string::npos) {
          peer.respond(R"({"kind":"Status","message":"no"})", "401 Unauthorized");
        } else if (got.find("Upgrade: websocket") != std::string::npos) {
          peer.write(
              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
              "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\nSec-WebSocket-Accept: " +
              accepted(got) + "\r\n\r\n" + frame('\x82', "\x01ready") +
              frame('\x82', "\x03{\"status\":\"Success\"}") + frame('\x88', ""));
        } else if (got.find("watch=true") != std::string::npos) {
          const std::string event =
              R"({"type":"ADDED","object":{"metadata":{"name":"n","resourceVersion":"1"}}})"
              "\n";
          std::array<char, 8> size{};
          const auto end = std::to_chars(size.begin(), size.end(), event.size(), 16).ptr;
          peer.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
                     std::string(size.begin(), end) + "\r\n" + event + "\r\n0\r\n\r\n");
        } else {
          peer.respond(Json{{"sni", peer.server_name()}, {"told", told}}.dump());
        }
      }
      peer.close();  // which the end of a terminal waits for
    });
  }
  [[nodiscard]] int port() const { return std::stoi(server_->port()); }
  // A proxy's own, by the cluster's authority.
  static scripted::Options tls() {
    scripted::Options out;
    out.identity = test_pki::issue(
        authority(), {"proxy", {}, {"127.0.0.1"}, test_pki::Purpose::kServer, 24h, ""});
    return out;
  }
  kube::Config config(const scripted::Server& proxy, const std::string& scheme_and_user = "http://",
                      const std::string& more = "") {
    auto out = load(kubeconfig(
        "{server: 'https://api.test:6443', proxy-url: '" + scheme_and_user +
            "127.0.0.1:" + proxy.port() + "'" +
            (more.empty() ? ", certificate-authority-data: " + base64(authority().certificate)
                          : ", " + more) +
            "}",
        "{token: t0ken}"));
    EXPECT_TRUE(out) << out.error().text();
    return out.value_or(kube::Config());
  }
  static kube::Result<Json> get(const kube::Config& config) {
    // cpprestsdk is asked for and knows no proxy.
    return kube::Client::connect(config)->get(kube::resources::kNodes, "", "n");
  }
  static std::string attach(const kube::Config& config) {
    kube::Attachment attachment(config, {"ns", "p", "c", 30s, 30s});
    std::string said;
    const auto end = attachment.run([] {}, [&said](std::string_view text) { said.append(text); });
    return end ? said + "/" + std::to_string(static_cast<int>(end->kind)) : end.error().text();
  }
  // All that goes to a server goes through.
  static void try_all(const kube::Config& through) {
    const auto client = kube::Client::connect(through);
    for (int i = 0; i < 2; ++i) {
      const auto got = client->get(kube::resources::kNodes, "", "n");
      ASSERT_TRUE(got) << got.error().text();
      EXPECT_EQ(*got, Json({{"sni", "api.test"}, {"told", false}}));
    }
    std::string seen;
    const auto watched = client->watch(kube::resources::kNodes, {},
                                       [&seen](const kube::WatchEvent& event) {
                                         seen += event.object["metadata"]["name"];
                                         return true;
                                       },
                                       {});
    EXPECT_TRUE(watched) << watched.error().text();
    EXPECT_EQ(seen, "n");
    EXPECT_EQ(attach(through), "ready/0");
  }
  std::unique_ptr<scripted::Server> server_;
};

// For calls, of which the second goes over the first one's connection, a watch and a terminal.
TEST_F(Tunnel, GoesToTheServerItself) {
  const auto http = std::make_shared<scripted::Heard>();
  const auto proxy = scripted::connect_proxy(port(), "200 Connected", {}, http);
  try_all(config(*proxy, "http://ann:secret@"));
  const auto secured = std::make_shared<scripted::Heard>();
  const auto over_tls = scripted::connect_proxy(port(), "200 Connected", tls(), secured);
  try_all(config(*over_tls, "https://ann:secret@"));
  for (auto* one : {proxy.get(), over_tls.get()}) {
    const auto asked = one->notes();
    EXPECT_EQ(asked.size(), 3U);
    for (const std::string& head : asked) {
      EXPECT_THAT(head, testing::StartsWith("CONNECT api.test:6443 HTTP/1.1\r\n"));
      EXPECT_THAT(head, HasSubstr("Host: api.test:6443\r\n"));
      EXPECT_THAT(head, HasSubstr("Proxy-Authorization: Basic " + base64("ann:secret") + "\r\n"));
      EXPECT_THAT(head, testing::Not(HasSubstr("t0ken"))) << "the server's, not the proxy's";
    }
  }
  const auto socks = std::make_shared<scripted::Heard>();
  const auto known = scripted::socks_proxy(port(), "ann:secret", socks);
  try_all(config(*known, "socks5://ann:secret@"));
  try_all(config(*known, "socks5h://ann:secret@"));
  EXPECT_THAT(known->notes(),
              testing::AllOf(testing::SizeIs(6), testing::Each("ann:secret api.test:6443")));
  const auto open = scripted::socks_proxy(port());
  try_all(config(*open, "socks5://"));
  try_all(config(*scripted::socks_proxy(port()), "socks5://ann:secret@"));
  for (const auto& heard : {http, secured, socks}) {
    EXPECT_GT(heard->text().size(), 1000U);
    EXPECT_THAT(heard->text(), testing::Not(HasSubstr("t0ken")));
    EXPECT_THAT(heard->text(), testing::Not(HasSubstr("GET /")));
  }
}

TEST_F(Tunnel, SocksIsToldAddressesAsSuch) {
  const auto proxy = scripted::socks_proxy(port());
  const auto through = load(kubeconfig(
      "{server: 'https://192.0.2.7:6443', tls-server-name: api.test, proxy-url: "
      "'socks5://127.0.0.1:" +
          proxy->port() + "', certificate-authority-data: " + base64(authority().certificate) + "}",
      "{token: t0ken}"));
  ASSERT_TRUE(through) << through.error().text();
  try_all(*through);
  EXPECT_THAT(proxy->notes(), testing::Each(" 192.0.2.7:6443"));
}

// A proxy with TLS proves itself, by the cluster's authority or the system's, and is shown nothing.
TEST_F(Tunnel, ProxiesWithTlsAreVerified) {
  scripted::Options foreign;
  foreign.identity =
      test_pki::issue(test_pki::make_ca("other"),
                      {"proxy", {}, {"127.0.0.1"}, test_pki::Purpose::kServer, 24h, ""});
  scripted::Options other_name;
  other_name.identity = test_pki::issue(
      authority(), {"proxy", {"proxy.test"}, {}, test_pki::Purpose::kServer, 24h, ""});
  for (const auto& identity : {foreign, other_name}) {
    const auto proxy = scripted::connect_proxy(port(), "200 Connected", identity);
    const auto through = config(*proxy, "https://ann:secret@");
    const auto refused = get(through);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, kube::kTransportReasonTls);
    EXPECT_THAT(refused.error().text(),
                HasSubstr("TLS with the proxy 127.0.0.1:" + proxy->port() + ": "));
    EXPECT_THAT(attach(through), HasSubstr("TLS with the proxy"));
    EXPECT_TRUE(proxy->notes().empty()) << "a password has gone to a stranger";
    const auto unverified = config(*proxy, "https://", "insecure-skip-tls-verify: true");
    EXPECT_TRUE(get(unverified));
  }
}

// SOCKS as far as a proxy goes along; what it says is not part of a connection.
TEST_F(Tunnel, SocksRefusalsSayWhoseTheyAre) {
  using std::string_literals::operator""s;
  struct Case {
    const char* user;
    std::vector<std::string> says;  // each after something was heard
    const char* error;
  };
  const std::string none = "\x05\xff";
  const std::string open = "\x05\x00"s;
  const std::string asks = "\x05\x02";
  for (const auto& [user, says, error] :
       {Case{"", {none}, "wants a user and a password"},
        Case{"ann:secret@", {none}, "does not take the user and the password"},
        Case{"", {asks}, "wants a user and a password"},
        Case{"ann:secret@", {asks, "\x01\x01"}, "does not take the user and the password"},
        Case{"", {open, "\x05\x01\x00\x01"s}, "fails"},
        Case{"", {open, "\x05\x02\x00\x01"s}, "does not allow it"},
        Case{"", {open, "\x05\x04\x00\x01"s}, "it must know its name"},
        Case{"", {open, "\x05\x05\x00\x01"s}, "is the server up?"},
        Case{"", {open, "\x05\x63\x00\x01"s}, "for a reason of its own"},
        Case{"", {open, "\x05\x00\x00\x07"s}, "an address of no kind"},
        Case{"", {"HTTP/1.1 400 Bad Request\r\n\r\n"}, "does not speak SOCKS 5"},
        Case{"", {}, "SOCKS with the proxy"}, Case{"", {"\x05"}, "SOCKS with the proxy"},
        Case{"", {open}, "SOCKS with the proxy"},
        Case{"ann:secret@", {asks}, "SOCKS with the proxy"},
        Case{"", {open, "\x05\x00\x00\x01\x7f"s}, "SOCKS with the proxy"}}) {
    SCOPED_TRACE(error);
    scripted::Server proxy({}, [says = says](scripted::Peer& peer, int) {
      for (const std::string& text : says) {
        peer.read_some();
        if (!peer.write(text)) return;
      }
      peer.close();
    });
    const auto through = config(proxy, std::string("socks5://") + user);
    const auto refused = get(through);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, 0);
    for (const std::string& text : {refused.error().text(), attach(through)}) {
      EXPECT_THAT(text, HasSubstr(error));
      EXPECT_THAT(text, HasSubstr("the proxy 127.0.0.1:" + proxy.port()));
      EXPECT_THAT(text, testing::Not(HasSubstr("secret")));
    }
  }
}

// Whatever the kind: one that ends in mid-handshake or says nothing is an error in time.
TEST_F(Tunnel, ProxiesThatEndOrSayNothingAreErrors) {
  scripted::Server rude({}, [](scripted::Peer& peer, int) {
    peer.read_some();
    peer.reset();
  });
  for (const char* scheme : {"http://", "https://", "socks5://"}) {
    const auto through = config(rude, scheme);
    const auto refused = get(through);
    ASSERT_FALSE(refused) << scheme;
    EXPECT_THAT(refused.error().text(), HasSubstr("the proxy 127.0.0.1:" + rude.port()));
    EXPECT_THAT(attach(through), HasSubstr("the proxy 127.0.0.1:" + rude.port()));
  }
  scripted::Server silent({}, [](scripted::Peer& peer, int) { peer.wait_for_close(); });
  for (const char* scheme : {"http://", "https://", "socks5://"}) {
    kube::TransportOptions options;
    options.base_url = "https://api.test:6443";
    options.proxy = config(silent, scheme).proxy;
    options.connect_timeout = 300ms;
    const auto late = kube::make_beast_transport(options)->send({}, {});
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().reason, kube::kTransportReasonTimeout) << late.error().text();
    EXPECT_THAT(late.error().text(), HasSubstr("the proxy 127.0.0.1:" + silent.port()));
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
    const auto through = config(proxy, std::string("http://") + user);
    const auto refused = get(through);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, 0);
    EXPECT_THAT(refused.error().text(), HasSubstr(says));
    EXPECT_THAT(refused.error().text(), HasSubstr("127.0.0.1:" + proxy.port()));
    EXPECT_THAT(refused.error().text(), testing::Not(HasSubstr("secret")));
    EXPECT_THAT(attach(through), HasSubstr(says));
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
