// Calls to a server of the same kind: what arrives, what is kept, who is trusted.
#include <filesystem>
#include <fstream>

#include <gateway/http/together.h>
#include <unistd.h>

#include "gateway_http/fixture.h"
#include "gateway_http/pki.h"

namespace palisade::gateway::testing {
namespace {

Task<void> echo(Exchange& exchange) {
  auto body = co_await exchange.read_all(64 * 1024 * 1024);
  if (!body) co_return;
  Fields fields;
  fields.add("X-Host", std::string(exchange.request().fields.get("host")));
  fields.add("X-Client", std::string(exchange.client()));
  const std::string text =
      exchange.request().method + " " + exchange.request().target + " " + *body;
  std::ignore = co_await exchange.reply(200, std::move(fields), text);
}

TEST(Calls, ArriveAndKeepTheirConnection) {
  TestServer server(echo);
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    std::string client;
    for (int i = 0; i < 5; ++i) {
      RequestHead head = request("POST", "/p?q=" + std::to_string(i));
      head.fields.add("Host", "another");
      const auto answer = co_await ask(clients, origin, std::move(head), "body");
      EXPECT_EQ(answer.body, "POST /p?q=" + std::to_string(i) + " body");
      EXPECT_EQ(answer.fields.get("x-host"), "127.0.0.1:" + std::to_string(server.port()));
      EXPECT_EQ(answer.reused, i > 0);
      if (i > 0) {
        EXPECT_EQ(answer.fields.get("x-client"), client);
      }
      client = answer.fields.get("x-client");
    }
  });
  EXPECT_EQ(server.server.connections(), 1U);
}

TEST(Calls, DoNotKeepAConnectionWhoseAnswerWasNotReadToItsEnd) {
  TestServer server(echo);
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    const char* stages[] = {"opened", "sent", "headed", "read"};
    for (const char* stage : stages) {
      const std::string_view until = stage;
      {
        auto call = co_await clients.open(origin, kPatience);
        EXPECT_TRUE(call);
        if (!call) co_return;
        EXPECT_FALSE((*call)->reused()) << stage;
        RequestHead head = request("GET", "/");
        if (until == "opened") continue;
        std::ignore = co_await (*call)->send(std::move(head), 0);
        if (until == "sent") continue;
        std::ignore = co_await (*call)->response(kPatience);
        if (until == "headed") continue;
        const auto piece = co_await (*call)->read(kPatience);
        EXPECT_TRUE(piece && !piece->empty());
        // All of it has come, so this one is kept though its end was not asked for.
      }
    }
    auto call = co_await clients.open(origin, kPatience);
    EXPECT_TRUE(call && (*call)->reused());
  });
}

TEST(Calls, TrustTheirAuthoritiesAloneAndAskForTheirHost) {
  const auto authority = test_pki::make_ca();
  const auto stranger = test_pki::make_ca("a stranger");
  const auto served = test_pki::issue(authority, leaf({"gateway.test"}));
  auto old_leaf = leaf();
  old_leaf.not_after = std::chrono::seconds(-60);
  const auto expired = test_pki::issue(authority, old_leaf);
  auto client_leaf = leaf();
  client_leaf.purpose = test_pki::Purpose::kClient;
  const auto client_only = test_pki::issue(authority, client_leaf);
  const struct {
    const char* name;
    test_pki::Pair identity;
    const char* host;
    const char* address;
    std::string trusted;
    std::optional<Fault> fault;
  } cases[] = {
      {"an address", served, "127.0.0.1", "", authority.certificate, {}},
      {"a name, told where", served, "gateway.test", "127.0.0.1", authority.certificate, {}},
      {"one of several authorities",
       served,
       "gateway.test",
       "127.0.0.1",
       stranger.certificate + authority.certificate,
       {}},
      {"the leaf itself", served, "gateway.test", "127.0.0.1", served.certificate, {}},
      {"another name", served, "other.test", "127.0.0.1", authority.certificate, Fault::kTls},
      {"another address", served, "127.0.0.2", "127.0.0.1", authority.certificate, Fault::kTls},
      {"another authority", served, "127.0.0.1", "", stranger.certificate, Fault::kTls},
      {"the system's", served, "127.0.0.1", "", "", Fault::kTls},
      {"no authority", served, "127.0.0.1", "", "nonsense", Fault::kTls},
      {"an expired one", expired, "127.0.0.1", "", authority.certificate, Fault::kTls},
      {"a client's", client_only, "127.0.0.1", "", authority.certificate, Fault::kTls},
  };
  Caller caller;
  for (const auto& c : cases) {
    auto options = local();
    options.tls = ServingIdentity{c.identity.certificate, c.identity.key};
    TestServer server(echo, options);
    Origin origin = plain(server.port());
    origin.tls = true;
    origin.host = c.host;
    origin.address = c.address;
    origin.authorities = c.trusted;
    caller.run([&](Clients& clients) -> Task<void> {
      RequestHead head = request("GET", "/");
      const auto answer = co_await ask(clients, origin, std::move(head));
      EXPECT_EQ(answer.fault, c.fault) << c.name << ": " << answer.message;
      EXPECT_EQ(answer.status, c.fault ? 0 : 200) << c.name;
    });
  }
}

TEST(Calls, TrustTheSystemBesideTheirOwnWhereTheyAreToldTo) {
  const auto systems = test_pki::make_ca("the system's");
  const auto own = test_pki::make_ca("one of its own");
  const std::string file = ::testing::TempDir() + "/palisade-system-" + std::to_string(getpid());
  std::ofstream(file) << systems.certificate;
  ::setenv("SSL_CERT_FILE", file.c_str(), 1);
  Caller caller;
  for (const auto* signer : {&systems, &own}) {
    const auto served = test_pki::issue(*signer, leaf());
    auto options = local();
    options.tls = ServingIdentity{served.certificate, served.key};
    TestServer server(echo, options);
    for (const bool system_too : {true, false}) {
      Origin origin = plain(server.port());
      origin.tls = true;
      origin.authorities = own.certificate;
      origin.system_too = system_too;
      const bool trusted = system_too || signer == &own;
      caller.run([&](Clients& clients) -> Task<void> {
        RequestHead head = request("GET", "/");
        const auto answer = co_await ask(clients, origin, std::move(head));
        EXPECT_EQ(answer.status, trusted ? 200 : 0) << answer.message;
        EXPECT_EQ(answer.fault, trusted ? std::optional<Fault>() : Fault::kTls);
      });
    }
  }
  ::unsetenv("SSL_CERT_FILE");
  std::filesystem::remove(file);
}

TEST(Calls, OfAnotherTrustShareNoConnection) {
  const auto authority = test_pki::make_ca();
  const auto stranger = test_pki::make_ca("a stranger");
  const auto served = test_pki::issue(authority, leaf());
  auto options = local();
  options.tls = ServingIdentity{served.certificate, served.key};
  TestServer server(echo, options);
  Origin trusted = plain(server.port());
  trusted.tls = true;
  trusted.authorities = authority.certificate;
  Origin other = trusted;
  other.authorities = stranger.certificate;
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      RequestHead head = request("GET", "/");
      const auto good = co_await ask(clients, trusted, std::move(head));
      EXPECT_EQ(good.status, 200);
      RequestHead again = request("GET", "/");
      const auto bad = co_await ask(clients, other, std::move(again));
      EXPECT_EQ(bad.fault, Fault::kTls);
    }
  });
}

TEST(Calls, FindTheirServerByName) {
  TestServer server(echo);
  Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    origin.host = "localhost";
    RequestHead head = request("GET", "/");
    const auto found = co_await ask(clients, origin, std::move(head));
    EXPECT_EQ(found.status, 200) << found.message;
    EXPECT_EQ(found.fields.get("x-host"), "localhost:" + std::to_string(server.port()));
    origin.host = "no such name.invalid";
    RequestHead other = request("GET", "/");
    const auto lost = co_await ask(clients, origin, std::move(other));
    EXPECT_EQ(lost.fault, Fault::kConnect) << lost.message;
  });
}

TEST(Calls, MaySendAndReceiveAtTheSameTime) {
  // Answers before it has read a byte, and then reads on.
  TestServer server([](Exchange& exchange) -> Task<void> {
    Fields none;
    std::ignore = co_await exchange.begin(200, std::move(none), std::nullopt);
    std::ignore = co_await exchange.write("early");
    std::size_t total = 0;
    for (;;) {
      const auto piece = co_await exchange.read();
      if (!piece || piece->empty()) break;
      total += piece->size();
    }
    std::ignore = co_await exchange.write(std::to_string(total));
    std::ignore = co_await exchange.end();
  });
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    auto call = co_await clients.open(origin, kPatience);
    EXPECT_TRUE(call);
    if (!call) co_return;
    RequestHead head = request("POST", "/");
    std::ignore = co_await (*call)->send(std::move(head), std::nullopt);
    bool answered = false;
    std::string body;
    const auto up = [&]() -> Task<void> {
      while (!answered)
        co_await pause(2ms);
      const std::string piece(10'000, 'x');
      for (int i = 0; i < 200; ++i) {
        const auto written = co_await (*call)->write(piece);
        EXPECT_TRUE(written);
      }
      std::ignore = co_await (*call)->finish();
    };
    const auto down = [&]() -> Task<void> {
      const auto answer = co_await (*call)->response(kPatience);
      EXPECT_TRUE(answer && answer->status == 200);
      for (;;) {
        const auto piece = co_await (*call)->read(kPatience);
        if (!piece || piece->empty()) break;
        body += *piece;
        answered = true;
      }
    };
    co_await together(down(), up());
    EXPECT_EQ(body, "early2000000");
  });
}

TEST(Together, ThrowsWhatOneOfThemThrowsOnceBothHaveEnded) {
  Caller caller;
  caller.run([](Clients&) -> Task<void> {
    for (const bool first : {true, false}) {
      bool other_ended = false;
      const auto throws = []() -> Task<void> {
        co_await pause(1ms);
        throw std::runtime_error("thrown");
      };
      const auto ends = [&]() -> Task<void> {
        co_await pause(20ms);
        other_ended = true;
      };
      std::string caught;
      try {
        if (first)
          co_await together(throws(), ends());
        else
          co_await together(ends(), throws());
      } catch (const std::runtime_error& error) {
        caught = error.what();
      }
      EXPECT_EQ(caught, "thrown");
      EXPECT_TRUE(other_ended);
    }
  });
}

}  // namespace
}  // namespace palisade::gateway::testing
