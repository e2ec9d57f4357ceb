// Candidates for one Lease at a real API server: somebody leads, never two at once, whatever
// happens to their connections and to the server.
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include <kube/envtest.h>
#include <kube/leader.h>

namespace {

using namespace std::chrono_literals;
using kube::Json;
using kube::resources::kLeases;
using Clock = std::chrono::steady_clock;

bool eventually(const std::function<bool()>& what) {
  for (const auto deadline = Clock::now() + 60s; Clock::now() < deadline;
       std::this_thread::sleep_for(20ms)) {
    if (what()) return true;
  }
  return what();
}

// A network that can be taken away: calls hang until it is back or they are given up.
class Gated : public kube::Transport {
 public:
  explicit Gated(std::unique_ptr<kube::Transport> inner) : inner_(std::move(inner)) {}
  void set_open(bool open) {
    const std::scoped_lock lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  kube::Result<kube::Response> send(const kube::Request& request, std::stop_token stop) override {
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return open_; }))
        return std::unexpected(kube::Error{0, kube::kTransportReasonCancelled, "gone", {}, {}});
    }
    return inner_->send(request, stop);
  }
  kube::Result<kube::Response> stream(const kube::Request& request, const ChunkSink& sink,
                                      std::chrono::milliseconds idle,
                                      std::stop_token stop) override {
    return inner_->stream(request, sink, idle, stop);
  }

 private:
  std::unique_ptr<kube::Transport> inner_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool open_ = true;
};

struct Candidate {
  std::shared_ptr<Gated> network;
  std::unique_ptr<kube::LeaderElector> elector;
  std::atomic<int> started = 0;
  std::atomic<int> stopped = 0;
};

class LeaderIntegration : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
  }
  static void TearDownTestSuite() { env_.reset(); }
  void SetUp() override {
    ASSERT_TRUE(env_);
    client_ = kube::Client::connect(env_->config());
    lease_ = "lease-" + std::to_string(++count_);
  }
  void TearDown() override { watch_.reset(); }

  Candidate& join(std::chrono::milliseconds lease_duration = 3s,
                  std::chrono::milliseconds renew_deadline = 2s,
                  std::chrono::milliseconds retry_period = 200ms) {
    auto one = std::make_unique<Candidate>();
    const kube::Config config = env_->config();
    kube::TransportOptions options;
    options.base_url = config.server;
    options.tls_material = config.tls_material;
    one->network = std::make_shared<Gated>(kube::make_beast_transport(options));
    auto client = std::make_shared<kube::Client>(config, one->network, one->network);
    Candidate& out = *one;
    kube::LeaderCallbacks callbacks;
    callbacks.on_started = [&out](const std::stop_token&) { ++out.started; };
    callbacks.on_stopped = [&out] { ++out.stopped; };
    one->elector = std::make_unique<kube::LeaderElector>(
        client,
        kube::LeaderOptions{"default", lease_,
                            kube::unique_identity("c" + std::to_string(candidates_.size())),
                            lease_duration, renew_deadline, retry_period},
        callbacks);
    one->elector->start();
    candidates_.push_back(std::move(one));
    return out;
  }

  // From here on a thread looks for two leaders. One look takes time in which a term may end
  // rightly: two lead at once for sure where the first one's term still lasts after the second one
  // was seen to lead.
  void watch_for_two() {
    watch_ = std::make_unique<std::jthread>([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        for (const auto& a : candidates_) {
          for (const auto& b : candidates_) {
            if (a == b) continue;
            const auto term = a->elector->term();
            if (term && b->elector->is_leader() && !term->stop_requested() &&
                a->elector->is_leader())
              ADD_FAILURE() << "two lead at once";
          }
        }
        ++looks_;
        std::this_thread::sleep_for(2ms);
      }
    });
  }
  [[nodiscard]] Candidate* leader() const {
    for (const auto& one : candidates_) {
      if (one->elector->is_leader()) return one.get();
    }
    return nullptr;
  }
  [[nodiscard]] Json spec() const {
    const auto lease = client_->get(kLeases, "default", lease_);
    EXPECT_TRUE(lease) << lease.error().text();
    return lease ? (*lease)["spec"] : Json();
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline int count_ = 0;
  std::shared_ptr<kube::Client> client_;
  std::string lease_;
  std::vector<std::unique_ptr<Candidate>> candidates_;
  std::atomic<int> looks_ = 0;
  std::unique_ptr<std::jthread> watch_;  // last: it reads the rest
};

// The Lease's own time is minutes here: only the release can explain that another leads.
TEST_F(LeaderIntegration, WhoStopsHandsOver) {
  join(600s, 500s, 200ms);
  join(600s, 500s, 200ms);
  watch_for_two();
  ASSERT_TRUE(eventually([&] { return leader() != nullptr; }));
  Candidate& first = *leader();
  Candidate& second = &first == candidates_[0].get() ? *candidates_[1] : *candidates_[0];
  const std::string identity = first.elector->leader();
  EXPECT_TRUE(eventually([&] { return second.elector->leader() == identity; }));
  EXPECT_EQ(spec()["holderIdentity"], identity);
  EXPECT_EQ(spec()["leaseTransitions"], 0);
  first.elector->stop();
  EXPECT_EQ(first.stopped, 1);
  EXPECT_TRUE(eventually([&] { return second.elector->is_leader(); }));
  EXPECT_EQ(spec()["leaseTransitions"], 1);
  EXPECT_EQ(spec()["leaseDurationSeconds"], 600);
  EXPECT_NE(spec()["holderIdentity"], identity);
  second.elector->stop();
  EXPECT_EQ(spec()["holderIdentity"], "");
  EXPECT_EQ(first.started + second.started, 2);
  EXPECT_GT(looks_, 0);
}

TEST_F(LeaderIntegration, WhoIsCutOffStopsAndIsReplaced) {
  join();
  join();
  watch_for_two();
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(eventually([&] { return leader() != nullptr; }));
    Candidate& cut = *leader();
    const int stopped = cut.stopped;
    cut.network->set_open(false);
    EXPECT_TRUE(eventually([&] { return leader() != nullptr && leader() != &cut; }));
    EXPECT_TRUE(eventually([&] { return cut.stopped == stopped + 1; }));
    const std::string now = spec()["holderIdentity"];
    cut.network->set_open(true);
    EXPECT_TRUE(eventually([&] { return cut.elector->leader() == now; }));
  }
}

TEST_F(LeaderIntegration, NobodyLeadsWithoutAServerAndOneDoesWhenItIsBack) {
  join();
  join();
  watch_for_two();
  ASSERT_TRUE(eventually([&] { return leader() != nullptr; }));
  ASSERT_TRUE(env_->stop_apiserver(kube::EnvTest::Stop::kAbrupt));
  EXPECT_TRUE(eventually([&] { return leader() == nullptr; }));
  const auto back = env_->start_apiserver();
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_TRUE(eventually([&] { return leader() != nullptr; }));
}

// Both have seen who leads: a candidate that never saw the Lease cannot know that a term lasts.
TEST_F(LeaderIntegration, ADeletedLeaseIsMadeAnew) {
  join();
  join();
  watch_for_two();
  ASSERT_TRUE(eventually([&] { return leader() != nullptr; }));
  const std::string identity = leader()->elector->leader();
  for (const auto& one : candidates_)
    ASSERT_TRUE(eventually([&] { return one->elector->leader() == identity; }));
  ASSERT_TRUE(client_->remove(kLeases, "default", lease_));
  EXPECT_TRUE(eventually([&] { return client_->get(kLeases, "default", lease_).has_value(); }));
  EXPECT_TRUE(eventually([&] { return leader() != nullptr; }));
}

// Networks come and go at random: one after the other leads, and never two.
TEST_F(LeaderIntegration, RandomCutsNeverMakeTwo) {
  for (int i = 0; i < 4; ++i)
    join(900ms, 600ms, 60ms);
  watch_for_two();
  std::minstd_rand random(20260701);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same each time
  for (const auto until = Clock::now() + 8s; Clock::now() < until;
       std::this_thread::sleep_for(std::chrono::milliseconds(random() % 300))) {
    candidates_[random() % candidates_.size()]->network->set_open(random() % 2 == 0);
  }
  for (const auto& one : candidates_)
    one->network->set_open(true);
  EXPECT_TRUE(eventually([&] { return leader() != nullptr; }));
  int terms = 0;
  for (const auto& one : candidates_) {
    one->elector->stop();
    EXPECT_EQ(one->started, one->stopped);
    terms += one->started;
  }
  EXPECT_GT(terms, 1);
  EXPECT_EQ(spec()["holderIdentity"], "");
}

}  // namespace
