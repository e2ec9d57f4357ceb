// Who may answer, and who asks: certificates, names, rotation.
#include <mutex>
#include <thread>
#include <typeinfo>

#include "kube/transport_fixture.h"

namespace conformance {
namespace {

using kube::TlsMaterial;
using test_pki::Leaf;
using test_pki::Purpose;
using testing::HasSubstr;

Leaf leaf(std::string common_name, std::vector<std::string> dns_names,
          std::vector<std::string> addresses, Purpose purpose = Purpose::kServer,
          std::chrono::seconds not_after = 24h) {
  return {
      std::move(common_name), std::move(dns_names), std::move(addresses), purpose, not_after, ""};
}

class Tls : public Conformance {
 protected:
  static scripted::Options showing(const Leaf& leaf, const test_pki::Pair& ca = authority()) {
    scripted::Options out;
    out.identity = test_pki::issue(ca, leaf);
    return out;
  }
  // A server that tells who it was asked for and by whom.
  Server& serve_names(scripted::Options options) {
    return serve(
        [](Server&, Peer& peer, int) {
          while (!peer.read_request().empty())
            peer.respond(peer.server_name() + "|" + peer.client_name());
        },
        std::move(options));
  }
};
INSTANTIATE_TEST_SUITE_P(Both, Tls, testing::Values(Kind::kCpprest, Kind::kBeast), kind_name);

TEST_P(Tls, ServerThatCannotProveItselfIsRefused) {
  const test_pki::Pair foreign = test_pki::make_ca("foreign");
  const test_pki::Pair namesake = test_pki::make_ca();  // the same name, another key
  struct Case {
    const char* what;
    scripted::Options server;
  };
  const Case cases[] = {
      {"foreign authority", showing(leaf("server", {}, {"127.0.0.1"}), foreign)},
      {"authority of the same name", showing(leaf("server", {}, {"127.0.0.1"}), namesake)},
      {"another address", showing(leaf("server", {"localhost"}, {"127.0.0.2"}))},
      {"the address as a DNS name", showing(leaf("server", {"127.0.0.1"}, {}))},
      {"the address as the subject alone", showing(leaf("127.0.0.1", {}, {}))},
      {"expired", showing(leaf("server", {}, {"127.0.0.1"}, Purpose::kServer, -60s))},
      {"a client's certificate", showing(leaf("server", {}, {"127.0.0.1"}, Purpose::kClient, 24h))},
  };
  for (const auto& [what, server] : cases) {
    SCOPED_TRACE(what);
    serve_bytes(ok("secrets"), server);
    Request sent = request();
    sent.headers = {{"Authorization", "Bearer secret"}};
    const auto transport = make();
    for (int i = 0; i < 2; ++i)
      EXPECT_TRUE(failed_as(transport->send(sent, {}), kube::kTransportReasonTls));
    EXPECT_THAT(server_->notes(), testing::IsEmpty()) << "the token was sent";
  }
}

TEST_P(Tls, NameInTheUrlIsAskedForAndVerified) {
  serve_names(showing(leaf("server", {"localhost"}, {})));
  TransportOptions by_name = options();
  by_name.base_url = server_->url("localhost");
  EXPECT_EQ(shown(make(by_name)->send(request(), {})), "200: localhost|");
  EXPECT_TRUE(failed_as(get(), kube::kTransportReasonTls)) << "by its address";
  for (const char* names : {"other.test", "*", "*host", "localhost.other.test"}) {
    SCOPED_TRACE(names);
    serve_names(showing(leaf("localhost", {names}, {})));
    by_name.base_url = server_->url("localhost");
    EXPECT_TRUE(failed_as(make(by_name)->send(request(), {}), kube::kTransportReasonTls));
  }
}

TEST_P(Tls, AddressIsVerifiedAndNotSentAsAName) {
  serve_names(tls());
  EXPECT_EQ(shown(get()), "200: |");
}

// tls-server-name of a kubeconfig.
TEST_P(Tls, ServerNameReplacesTheNameInTheUrl) {
  serve_names(showing(leaf("server", {"api.test"}, {})));
  TransportOptions named = options();
  EXPECT_TRUE(failed_as(make(named)->send(request(), {}), kube::kTransportReasonTls));
  named.server_name = "api.test";
  EXPECT_EQ(shown(make(named)->send(request(), {})), "200: api.test|");
  named.server_name = "other.test";
  EXPECT_TRUE(failed_as(make(named)->send(request(), {}), kube::kTransportReasonTls));
  // The name in the URL is no longer enough.
  serve_names(tls());
  named = options();
  named.server_name = "other.test";
  EXPECT_TRUE(failed_as(make(named)->send(request(), {}), kube::kTransportReasonTls));
}

TEST_P(Tls, Ipv6LiteralWorks) {
  scripted::Options six = tls();
  six.ipv6 = true;
  try {
    serve_names(six);
  } catch (const boost::system::system_error& error) {
    GTEST_SKIP() << "no IPv6 on loopback: " << error.what();
  }
  EXPECT_EQ(shown(get()), "200: |");
}

TEST_P(Tls, InsecureAcceptsAnybody) {
  const test_pki::Pair foreign = test_pki::make_ca("foreign");
  serve_bytes(ok("{}"), showing(leaf("server", {"other.test"}, {}), foreign));
  TransportOptions insecure = options();
  insecure.insecure_skip_verify = true;
  EXPECT_EQ(shown(make(insecure)->send(request(), {})), "200: {}");
}

TEST_P(Tls, SystemAuthoritiesAreNotTrustedBesideTheClusters) {
  // An authority that is not the server's, and none at all (the system's): both refuse.
  const test_pki::Pair other = test_pki::make_ca("other");
  serve_bytes(ok("{}"));
  TransportOptions trusting = options();
  for (const std::string& ca : {other.certificate, std::string()}) {
    trusting.tls_material = [ca] { return TlsMaterial{ca, "", ""}; };
    EXPECT_TRUE(failed_as(make(trusting)->send(request(), {}), kube::kTransportReasonTls));
  }
  // Both in one bundle: the right one counts, wherever it stands.
  trusting.tls_material = [&] {
    return TlsMaterial{other.certificate + authority().certificate, "", ""};
  };
  EXPECT_EQ(shown(make(trusting)->send(request(), {})), "200: {}");
}

TEST_P(Tls, ClientCertificateIsShown) {
  scripted::Options demanding = tls();
  demanding.client_ca = authority().certificate;
  serve_names(demanding);
  const auto client =
      test_pki::issue(authority(), {"operator", {}, {}, Purpose::kClient, 24h, "system:masters"});
  TransportOptions known = options();
  known.tls_material = [&] {
    return TlsMaterial{authority().certificate, client.certificate, client.key};
  };
  EXPECT_EQ(shown(make(known)->send(request("POST"), {})), "200: |operator");
  const auto refused = get();
  ASSERT_FALSE(refused) << "without a certificate: " << shown(refused);
  EXPECT_TRUE(refused.error().is_transport());
}

TEST_P(Tls, BrokenMaterialIsAClearErrorAndNothingIsSent) {
  serve_bytes(ok("{}"));
  const auto client = test_pki::issue(authority(), {"a", {}, {}, Purpose::kClient, 24h, ""});
  const auto other = test_pki::issue(authority(), {"b", {}, {}, Purpose::kClient, 24h, ""});
  const std::string ca = authority().certificate;
  struct Case {
    TlsMaterial material;
    const char* says;
  };
  const Case cases[] = {
      {{"not PEM", "", ""}, "authority"},
      {{ca.substr(0, ca.size() / 2), "", ""}, "authority"},
      {{ca, client.certificate, other.key}, "does not belong"},
      {{ca, client.certificate, ""}, "key"},
      {{ca, client.certificate, "not PEM"}, "key"},
      {{ca, "not PEM", client.key}, "certificate"},
  };
  for (const auto& [material, says] : cases) {
    SCOPED_TRACE(says);
    TransportOptions broken = options();
    broken.tls_material = [&material = material] { return material; };
    const auto answer = make(broken)->send(request(), {});
    EXPECT_TRUE(failed_as(answer, kube::kTransportReasonTls));
    if (!answer) {
      EXPECT_THAT(answer.error().message, HasSubstr(says));
    }
  }
  EXPECT_THAT(server_->notes(), testing::IsEmpty());
}

TEST_P(Tls, RotatedIdentityIsShownByTheNextConnection) {
  scripted::Options demanding = tls();
  demanding.client_ca = authority().certificate;
  serve(
      [](Server&, Peer& peer, int) {
        peer.read_request();
        peer.respond(peer.client_name(), "200 OK", "Connection: close\r\n");
        peer.close();
      },
      demanding);
  std::mutex mutex;
  TlsMaterial now{authority().certificate, "", ""};
  const auto rotate = [&](const std::string& name) {
    const auto pair = test_pki::issue(authority(), {name, {}, {}, Purpose::kClient, 24h, ""});
    const std::scoped_lock lock(mutex);
    now.certificate = pair.certificate;
    now.key = pair.key;
  };
  TransportOptions rotating = options();
  rotating.tls_material = [&] {
    const std::scoped_lock lock(mutex);
    return now;
  };
  const auto transport = make(rotating);
  for (const std::string name : {"first", "second", "third"}) {
    rotate(name);
    EXPECT_EQ(shown(transport->send(request("POST"), {})), "200: " + name);
  }
}

// The cluster's authority is replaced, then the server's certificate: the same transport goes on.
TEST_P(Tls, RotatedAuthorityIsTrustedByTheNextConnection) {
  const test_pki::Pair next = test_pki::make_ca("next");
  std::mutex mutex;
  std::string ca = authority().certificate;
  serve_bytes(ok("old"));
  Server fresh(showing(leaf("server", {}, {"127.0.0.1"}), next), [](Peer& peer, int) {
    while (!peer.read_request().empty())
      peer.respond("new");
  });
  TransportOptions rotating = options();
  rotating.base_url = fresh.url();
  rotating.tls_material = [&] {
    const std::scoped_lock lock(mutex);
    return TlsMaterial{ca, "", ""};
  };
  const auto transport = make(rotating);
  EXPECT_TRUE(failed_as(transport->send(request(), {}), kube::kTransportReasonTls));
  {
    const std::scoped_lock lock(mutex);
    ca += next.certificate;
  }
  EXPECT_EQ(shown(transport->send(request(), {})), "200: new");
}

TEST_P(Tls, ServerThatSpeaksNoTlsIsAnError) {
  serve(
      [](Server&, Peer& peer, int) {
        peer.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        peer.wait_for_close();
      },
      scripted::Options{});
  TransportOptions secure = options();
  secure.base_url = "https://127.0.0.1:" + server_->port();
  EXPECT_TRUE(failed_as(make(secure)->send(request(), {}), kube::kTransportReasonTls));
}

TEST_P(Tls, StalledHandshakeMeetsDeadlineAndStop) {
  auto& server = serve(
      [](Server& self, Peer& peer, int) {
        self.note("accepted");
        peer.wait_for_close();
      },
      scripted::Options{});
  TransportOptions secure = options();
  secure.base_url = "https://127.0.0.1:" + server.port();
  const auto transport = make(secure);
  Request late = request();
  late.deadline = 300ms;
  EXPECT_TRUE(failed_as(transport->send(late, {}), kube::kTransportReasonTimeout));
  std::stop_source stop;
  std::jthread stopper([&] {
    EXPECT_TRUE(server.wait_for_notes(2));
    server.pause(20ms);
    stop.request_stop();
  });
  late.deadline = 120s;
  const auto begun = Clock::now();
  EXPECT_TRUE(failed_as(transport->send(late, stop.get_token()), kube::kTransportReasonCancelled));
  EXPECT_LT(Clock::now() - begun, kPatience);
}

// Which of the two stands behind make_cpprest_transport().
TEST(TransportChoice, CpprestUnlessTheServerIsAnIpv6Literal) {
  const auto made_for = [](const char* url, const char* name) {
    TransportOptions options;
    options.base_url = url;
    options.server_name = name;
    const auto beast = kube::make_beast_transport(options);
    const auto made = kube::make_cpprest_transport(options);
    const Transport& a = *beast;
    const Transport& b = *made;
    return typeid(a) == typeid(b) ? "beast" : "cpprest";
  };
  EXPECT_STREQ(made_for("https://127.0.0.1:6443", ""), "cpprest");
  EXPECT_STREQ(made_for("https://api.test", ""), "cpprest");
  EXPECT_STREQ(made_for("https://api.test", "other.test"), "cpprest");
  EXPECT_STREQ(made_for("https://[::1]:6443", ""), "beast");
  EXPECT_STREQ(made_for("https://[fd00::1]", "api.test"), "beast");
}

}  // namespace
}  // namespace conformance
