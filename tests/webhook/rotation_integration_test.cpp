// Certificates that change while reviews come: replicas of which one leads, a real API server that
// holds Secret and caBundle, and clients that verify as an API server does.
#include <atomic>
#include <future>
#include <set>

#include <openssl/pem.h>
#include <prometheus/registry.h>

#include <kube/leader.h>
#include <kube/openssl_ptr.h>
#include <webhook/serving.h>

#include "kube/raw_client.h"
#include "webhook/keeper_fixture.h"

namespace palisade::webhook::testing {
namespace {

// Trusts `authorities` for the webhook's name, and nothing else.
std::function<void(SSL_CTX*)> verifying(const std::string& authorities) {
  return [authorities](SSL_CTX* context) {
    const kube::BioPtr text(
        BIO_new_mem_buf(authorities.data(), static_cast<int>(authorities.size())));
    X509_STORE* store = SSL_CTX_get_cert_store(context);
    while (X509* one = PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)) {
      X509_STORE_add_cert(store, one);
      X509_free(one);
    }
    X509_VERIFY_PARAM_set1_host(SSL_CTX_get0_param(context), kNames[0].c_str(), 0);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  };
}

bool ask(raw::Client& client) {
  client.write("POST /validate?timeout=10s HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
  const auto reply = client.reply();
  return reply && reply->status == 200;
}

// A webhook as it ships, but for what it judges.
class Replica {
 public:
  Replica(const std::shared_ptr<const kube::Client>& client, KeeperOptions options)
      : elector_(client, {options.ns, options.configuration, kube::unique_identity("replica"),
                          6'000ms, 4'000ms, 1'000ms}) {
    options.term = [this] { return elector_.term(); };
    ServingOptions serving;
    serving.http.address = "127.0.0.1";
    serving.keeper = options;
    serving_ = std::make_unique<Serving>(
        client, serving, [](const kube::HttpRequest&) { return kube::HttpResponse{}; }, registry_);
    elector_.start();
  }
  void start() { serving_->start(); }
  [[nodiscard]] Serving& serving() { return *serving_; }
  [[nodiscard]] bool leads() const { return elector_.is_leader(); }
  void step_down() { elector_.stop(); }

 private:
  prometheus::Registry registry_;
  kube::LeaderElector elector_;
  std::unique_ptr<Serving> serving_;
};

// An API server's view of the caBundle: a little behind, never ahead.
class Informer {
 public:
  explicit Informer(std::function<std::string()> look)
      : thread_([this, look = std::move(look)](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            if (std::string now = look(); !now.empty()) {
              const std::scoped_lock lock(mutex_);
              text_ = std::move(now);
            }
            std::this_thread::sleep_for(50ms);
          }
        }) {}
  [[nodiscard]] std::string text() const {
    const std::scoped_lock lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
  std::jthread thread_;
};

TEST_F(Keeper, RotatesUnderLoadWithNoFailedReview) {
  constexpr std::size_t kRotations = 3;
  options_.validity = 9s;
  options_.interval = 400ms;
  options_.mutating_configuration = options_.configuration;
  make_configuration(2);
  make_configuration(1, true);
  const auto one = std::make_unique<Replica>(client_, options_);
  const auto two = std::make_unique<Replica>(client_, options_);
  // Together: each waits for the certificate that the one who leads makes.
  auto second = std::async(std::launch::async, [&] { two->start(); });
  one->start();
  second.get();
  ASSERT_TRUE(eventually([&] {
    return one->serving().not_ready().empty() && two->serving().not_ready().empty();
  })) << one->serving().not_ready()
      << two->serving().not_ready();
  ASSERT_NE(one->leads(), two->leads());

  const Informer informer([&] {
    const auto bundles = ca_bundles();
    return bundles.empty() ? std::string() : kube::decode_base64(bundles.at(0)).value_or("");
  });
  ASSERT_TRUE(eventually([&] { return !informer.text().empty(); }));
  std::atomic<int> answered{0};
  std::atomic<int> failed{0};
  std::mutex mutex;
  std::set<std::string> seen;  // certificates, by the authorities in force
  {
    std::vector<std::jthread> clients;
    for (Replica* replica : {one.get(), two.get()}) {
      const std::uint16_t port = replica->serving().port();
      // New connections, each of which verifies.
      clients.emplace_back([&, port](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          const std::string authorities = informer.text();
          raw::Client client(port, true, TLS1_3_VERSION, verifying(authorities));
          const bool good = client.secured() && ask(client);
          ++(good ? answered : failed);
          const std::scoped_lock lock(mutex);
          seen.insert(first_certificate(authorities));
        }
      });
      // One that stays open.
      clients.emplace_back([&, port](const std::stop_token& stop) {
        raw::Client client(port, true, TLS1_3_VERSION, verifying(informer.text()));
        while (!stop.stop_requested()) {
          ++(ask(client) ? answered : failed);
          std::this_thread::sleep_for(5ms);
        }
      });
    }
    const auto rotations = [&] {
      const std::scoped_lock lock(mutex);
      return seen.size() - 1;
    };
    EXPECT_TRUE(eventually([&] { return rotations() >= 1; }));
    // The leader goes; the other takes over, and goes on rotating.
    Replica& leader = one->leads() ? *one : *two;
    Replica& other = one->leads() ? *two : *one;
    leader.step_down();
    EXPECT_TRUE(eventually([&] { return other.leads(); }));
    EXPECT_TRUE(eventually([&] { return rotations() >= kRotations; }, 60s));
    EXPECT_FALSE(leader.leads());
  }
  EXPECT_EQ(failed, 0);
  EXPECT_GT(answered, 100);
  EXPECT_EQ(ca_bundles(), std::vector<std::string>(2, ca_bundles(true).at(0)));
}

// Makes nothing, writes nothing; serves what the leader has written once that is trusted.
TEST_F(Keeper, WhoDoesNotLeadOnlyFollows) {
  make_configuration();
  options_.interval = 200ms;
  options_.term = [] { return std::nullopt; };
  Served served;
  const auto follower = keeper(served);
  const auto none = follower->first(1s);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error(), HasSubstr("the replica that leads has to make one"));
  EXPECT_TRUE(secret_data().empty());

  const auto bundle = make_bundle(kNames, WallClock::now(), kValidity);
  ASSERT_TRUE(bundle);
  write_secret(data_of(*bundle));
  const auto first = follower->first(30s);
  ASSERT_TRUE(first) << first.error();
  EXPECT_EQ(first->certificate, bundle->certificate);
  follower->start();
  std::this_thread::sleep_for(1s);
  EXPECT_FALSE(follower->in_place()) << "nobody trusts it yet";
  EXPECT_EQ(ca_bundles(), std::vector<std::string>{""});

  options_.term = {};
  Served by_leader;
  const auto leader = keeper(by_leader);
  ASSERT_TRUE(leader->first(30s));
  leader->start();
  EXPECT_TRUE(eventually([&] { return follower->in_place() && leader->in_place(); }));
  // Time for a new one: the leader makes it, the follower takes it up.
  patch_secret(data_of(due_bundle()));
  EXPECT_TRUE(eventually([&] {
    return !served.last().empty() && served.last() == by_leader.last() && in_step(served.last());
  }));
}

// A term that has ended stops what it had begun.
TEST_F(Keeper, NothingIsWrittenOnceTheTermIsOver) {
  make_configuration();
  options_.interval = 100ms;
  std::stop_source term;
  term.request_stop();
  options_.term = [&] { return std::optional(term.get_token()); };
  Served served;
  const auto late = keeper(served);
  EXPECT_FALSE(late->first(1s));
  EXPECT_TRUE(secret_data().empty());
  const auto bundle = make_bundle(kNames, WallClock::now(), kValidity);
  ASSERT_TRUE(bundle);
  write_secret(data_of(*bundle));
  ASSERT_TRUE(late->first(30s));
  late->start();
  std::this_thread::sleep_for(500ms);
  EXPECT_EQ(ca_bundles(), std::vector<std::string>{""});
}

}  // namespace
}  // namespace palisade::webhook::testing
