// TLS of kube/http_server.h: versions, certificates of the server and of its clients.
#include <atomic>
#include <fstream>
#include <thread>

#include <openssl/pem.h>

#include <kube/openssl_ptr.h>

#include "kube/http_fixture.h"

namespace {

using namespace http_testing;
using kube::ClientCertificates;
using kube::envtest::Authority;
using kube::envtest::KeyPair;

class HttpServerTlsTest : public HttpServerTest {};
INSTANTIATE_TEST_SUITE_P(Tls, HttpServerTlsTest, testing::Values(true));

TEST_P(HttpServerTlsTest, OldVersionsOfTlsAreRefused) {
  start();
  EXPECT_FALSE(raw::Client(server_->port(), true, TLS1_VERSION).secured());
  EXPECT_FALSE(raw::Client(server_->port(), true, TLS1_1_VERSION).secured());
  EXPECT_TRUE(raw::Client(server_->port(), true, TLS1_2_VERSION).secured());
  EXPECT_TRUE(raw::Client(server_->port(), true, TLS1_3_VERSION).secured());
}

TEST_P(HttpServerTlsTest, PlainHttpOnTheTlsPortIsClosed) {
  start();
  raw::Client plain(server_->port(), false);
  plain.write(get("/"));
  EXPECT_FALSE(plain.reply(5s));
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_P(HttpServerTlsTest, SilentHandshakeIsGivenUp) {
  HttpServerOptions options;
  options.handshake_deadline = 300ms;
  start(options);
  raw::Client silent(server_->port(), false);
  EXPECT_TRUE(silent.closed(5s));
}

TEST_P(HttpServerTlsTest, NewCertificateIsForNewConnections) {
  start();
  const auto before = connect();
  EXPECT_EQ(before->peer_name(), "first");
  const auto changed = server_->set_certificate(certificate("second"));
  ASSERT_TRUE(changed) << changed.error().text();
  EXPECT_EQ(connect()->peer_name(), "second");
  before->write(get("/"));
  EXPECT_TRUE(before->reply());
}

TEST_P(HttpServerTlsTest, BrokenCertificateLeavesTheOldInPlace) {
  start();
  const ServingCertificate good = certificate("other");
  EXPECT_FALSE(server_->set_certificate({"no PEM", good.key}));
  EXPECT_FALSE(server_->set_certificate({good.certificate, "no PEM"}));
  const auto mixed = server_->set_certificate({good.certificate, certificate("third").key});
  ASSERT_FALSE(mixed);
  EXPECT_EQ(connect()->peer_name(), "first");
}

TEST_P(HttpServerTlsTest, CertificatesChangeUnderLoad) {
  start();
  std::atomic<bool> over{false};
  std::atomic<int> failed{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 3; ++c) {
    clients.emplace_back([&] {
      while (!over) {
        if (status_of(get("/")) != 200) ++failed;
      }
    });
  }
  for (int i = 0; i < 30; ++i)
    ASSERT_TRUE(server_->set_certificate(certificate("n" + std::to_string(i))));
  over = true;
  for (auto& client : clients)
    client.join();
  EXPECT_EQ(failed, 0);
}

// What a client has to show, from PEM texts.
std::function<void(SSL_CTX*)> showing(const KeyPair& pair) {
  return [pair](SSL_CTX* context) {
    const kube::BioPtr text(
        BIO_new_mem_buf(pair.certificate.data(), static_cast<int>(pair.certificate.size())));
    const kube::BioPtr key_text(
        BIO_new_mem_buf(pair.key.data(), static_cast<int>(pair.key.size())));
    const kube::CertificatePtr leaf(PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr));
    const kube::KeyPtr key(PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
    ASSERT_EQ(SSL_CTX_use_certificate(context, leaf.get()), 1);
    ASSERT_EQ(SSL_CTX_use_PrivateKey(context, key.get()), 1);
  };
}

KeyPair issue(const Authority& authority, const std::string& name) {
  auto pair = authority.issue({name, "", {"client.example"}, {}});
  EXPECT_TRUE(pair);
  return *pair;
}

class ClientCertificateTest : public HttpServerTest {
 protected:
  // In TLS 1.3 a client learns of its refusal when it reads.
  [[nodiscard]] bool let_in(const std::function<void(SSL_CTX*)>& configure, int version) const {
    raw::Client client(server_->port(), true, version, configure);
    if (!client.secured()) return false;
    client.write(get("/"));
    const auto reply = client.reply();
    return reply && reply->status == 200;
  }
  void start_for(const ClientCertificates& clients) {
    HttpServerOptions options;
    options.clients = clients;
    start(options);
  }

  const Authority ours_ = *Authority::make("ours");
  const Authority theirs_ = *Authority::make("theirs");
};
INSTANTIATE_TEST_SUITE_P(Tls, ClientCertificateTest, testing::Values(true));

TEST_P(ClientCertificateTest, OnlyWhatTheAuthoritySignedIsLetIn) {
  std::atomic<int> handled{0};
  HttpServerOptions options;
  options.clients = ClientCertificates{ours_.certificate(), {}};
  start(options, [&](const HttpRequest& request) {
    ++handled;
    return echo(request);
  });
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    EXPECT_TRUE(let_in(showing(issue(ours_, "anyone")), version));
    EXPECT_FALSE(let_in({}, version)) << "without a certificate";
    EXPECT_FALSE(let_in(showing(issue(theirs_, "anyone")), version)) << "of another authority";
  }
  EXPECT_EQ(handled, 2) << "nothing of the others has reached the handler";
  EXPECT_TRUE(eventually([&] { return server_->counters().failed_handshakes == 4; }));
}

TEST_P(ClientCertificateTest, OnlyTheNamesAreLetIn) {
  start_for({ours_.certificate(), {"kube-apiserver", "second"}});
  EXPECT_TRUE(let_in(showing(issue(ours_, "kube-apiserver")), TLS1_3_VERSION));
  EXPECT_TRUE(let_in(showing(issue(ours_, "second")), TLS1_3_VERSION));
  for (const char* name : {"kube-apiserve", "kube-apiserverx", "Kube-Apiserver", "client.example",
                           "second,kube-apiserver", "CN=second"}) {
    EXPECT_FALSE(let_in(showing(issue(ours_, name)), TLS1_3_VERSION)) << name;
    EXPECT_FALSE(let_in(showing(issue(ours_, name)), TLS1_2_VERSION)) << name;
  }
  EXPECT_FALSE(let_in(showing(issue(theirs_, "second")), TLS1_3_VERSION));
}

TEST_P(ClientCertificateTest, TheAuthorityIsChangedWhileServing) {
  start_for({ours_.certificate(), {}});
  raw::Client open(server_->port(), true, TLS1_3_VERSION, showing(issue(ours_, "a")));
  ASSERT_TRUE(server_->set_clients({theirs_.certificate(), {}}));
  EXPECT_TRUE(let_in(showing(issue(theirs_, "a")), TLS1_3_VERSION));
  EXPECT_FALSE(let_in(showing(issue(ours_, "a")), TLS1_3_VERSION));
  // A new serving certificate keeps them, and both authorities may be there for a while.
  ASSERT_TRUE(server_->set_certificate(certificate("renewed")));
  EXPECT_FALSE(let_in(showing(issue(ours_, "a")), TLS1_3_VERSION));
  ASSERT_TRUE(server_->set_clients({theirs_.certificate() + ours_.certificate(), {}}));
  EXPECT_TRUE(let_in(showing(issue(ours_, "a")), TLS1_3_VERSION));
  EXPECT_TRUE(let_in(showing(issue(theirs_, "a")), TLS1_3_VERSION));
  for (const char* broken : {"", "no PEM"})
    EXPECT_FALSE(server_->set_clients({broken, {}})) << broken;
  EXPECT_TRUE(let_in(showing(issue(ours_, "a")), TLS1_3_VERSION)) << "the old stay in place";
}

TEST_P(ClientCertificateTest, AServerThatAsksForNoneCannotBeginTo) {
  start();
  EXPECT_FALSE(server_->set_clients({ours_.certificate(), {}}));
  HttpServerOptions options;
  options.address = "127.0.0.1";
  options.tls = certificate("first");
  options.clients = ClientCertificates{"no PEM", {}};
  EXPECT_FALSE(HttpServer(options, echo).start());
}

// A resumed session would not show its certificate again.
TEST_P(ClientCertificateTest, NoSessionIsResumed) {
  start_for({ours_.certificate(), {}});
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    int tickets = 0;
    const KeyPair pair = issue(ours_, "a");
    const auto configure = [&](SSL_CTX* context) {
      showing(pair)(context);
      SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT);
      SSL_CTX_set_app_data(context, &tickets);
      SSL_CTX_sess_set_new_cb(context, [](SSL* ssl, SSL_SESSION*) {
        ++*static_cast<int*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
        return 0;
      });
    };
    raw::Client first(server_->port(), true, version, configure);
    ASSERT_TRUE(first.secured());
    first.write(get("/"));
    ASSERT_TRUE(first.reply());
    const std::unique_ptr<SSL_SESSION, decltype(&SSL_SESSION_free)> session(
        SSL_get1_session(first.ssl()), SSL_SESSION_free);
    EXPECT_EQ(SSL_SESSION_is_resumable(session.get()), 0);
    EXPECT_EQ(SSL_SESSION_has_ticket(session.get()), 0);
    if (version == TLS1_3_VERSION) {
      EXPECT_EQ(tickets, 0);
    }
  }
}

TEST_P(HttpServerTlsTest, OnlySoundCiphersAreSpoken) {
  start();
  const auto speaks = [&](const char* ciphers) {
    return raw::Client(server_->port(), true, TLS1_2_VERSION,
                       [&](SSL_CTX* context) { SSL_CTX_set_cipher_list(context, ciphers); })
        .secured();
  };
  EXPECT_TRUE(speaks("ECDHE-ECDSA-AES128-GCM-SHA256"));
  EXPECT_TRUE(speaks("ECDHE-ECDSA-CHACHA20-POLY1305"));
  for (const char* weak : {"ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "aNULL",
                           "AES128-GCM-SHA256", "PSK", "ECDHE-ECDSA-NULL-SHA"})
    EXPECT_FALSE(speaks(weak)) << weak;
}

TEST_P(HttpServerTlsTest, AReplyIsOneRecord) {
  start({}, [](const HttpRequest&) { return HttpResponse{200, "text/plain", "hello"}; });
  const auto client = connect();
  // Content types of the records that come in, by OpenSSL's message callback.
  static int records = 0;
  SSL_set_msg_callback(client->ssl(), [](int write, int, int type, const void* bytes,
                                         std::size_t length, SSL*, void*) {
    constexpr unsigned char kApplicationData = 23;
    if (write == 0 && type == SSL3_RT_HEADER && length == 5 &&
        *static_cast<const unsigned char*>(bytes) == kApplicationData)
      ++records;
  });
  for (int i = 0; i < 3; ++i) {
    records = 0;
    client->write(get("/"));
    ASSERT_TRUE(client->reply());
    EXPECT_EQ(records, 1);
  }
}

}  // namespace
