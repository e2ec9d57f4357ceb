// Two operators' programs and one Lease, against a real etcd and API server: one works, the other
// stands by and takes over from one that is killed, cut off, stopped or told to end. Each has a
// proxy of its own, so that it is known who wrote when; a watcher judges every state that the API
// server has had, and in the end each workspace is exactly as its spec says.
#include <csignal>
#include <thread>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "free_port.h"
#include "operator/chaos_world.h"
#include "operator/fixture.h"

namespace palisade::op::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = 40s;
constexpr int kLeaseSeconds = 5;

class Leader : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { stage_ = std::make_unique<Stage>(); }
  static void TearDownTestSuite() { stage_.reset(); }

  // One operator, its proxy and its status pages.
  struct One {
    One(const std::string& lease, int seconds, std::uint64_t seed)
        : proxy(stage_->proxy(seed)), port(free_port()) {
      process = stage_->program(
          *proxy, {"--lease=" + lease, "--lease-duration=" + std::to_string(seconds)}, port);
    }
    [[nodiscard]] kube::Response page(const char* path) const {
      kube::TransportOptions options;
      options.base_url = "http://127.0.0.1:" + std::to_string(port);
      kube::Request request;
      request.target = path;
      auto answer = kube::make_beast_transport(options)->send(request, {});
      return answer ? std::move(*answer) : kube::Response{};
    }
    std::unique_ptr<ChaosProxy> proxy;
    std::uint16_t port;
    std::unique_ptr<OperatorProcess> process;
  };

  // The first leads, the second stands by, three workspaces run.
  void begin(const std::string& lease, int seconds) {
    lease_ = lease;
    for (int i = 0; i < 3; ++i) {
      const auto made = stage_->admin->create(workspaces(), Stage::kNs, stage_workspace(name(i)));
      ASSERT_TRUE(made) << made.error().text();
    }
    first_ = std::make_unique<One>(lease, seconds, 1);
    second_ = std::make_unique<One>(lease, seconds, 2);
    first_->process->start();
    eventually("the first leads", [&] { return first_->proxy->writes().times > 0; });
    second_->process->start();
    eventually("the second stands by", [&] { return second_->page("/readyz").status == 200; });
    eventually("all run", [&] { return stage_->wrong().empty(); });
    EXPECT_THAT(first_->page("/metrics").body, HasSubstr("palisade_operator_leader 1"));
    EXPECT_THAT(second_->page("/metrics").body, HasSubstr("palisade_operator_leader 0"));
    EXPECT_EQ(second_->page("/healthz").status, 200);
    holder_ = holder();
    EXPECT_NE(holder_, "");
  }

  void TearDown() override {
    ask_ = {};  // joins
    for (auto* one : {&first_, &second_})
      one->reset();
    kube::ListOptions all;
    all.ns = Stage::kNs;
    const auto left = stage_->admin->list(workspaces(), all);
    ASSERT_TRUE(left);
    // Nobody works any more: what is there is taken away by hand.
    for (const Json& one : left->items) {
      const std::string named = one["metadata"]["name"];
      static_cast<void>(stage_->admin->patch(workspaces(), Stage::kNs, named,
                                             kube::PatchType::kMerge,
                                             {{"metadata", {{"finalizers", nullptr}}}}));
      static_cast<void>(stage_->admin->remove(workspaces(), Stage::kNs, named));
    }
    for (const auto& kind :
         {kube::resources::kPods, kube::resources::kNetworkPolicies, kube::resources::kConfigMaps,
          kube::resources::kSecrets, kube::resources::kServiceAccounts}) {
      all.label_selector = std::string(kManagedByLabel) + "=" + kManagedBy;
      const auto made = stage_->admin->list(kind, all);
      ASSERT_TRUE(made);
      kube::DeleteOptions now;
      now.grace_period_seconds = 0;
      for (const Json& one : made->items)
        static_cast<void>(stage_->admin->remove(kind, Stage::kNs,
                                                one["metadata"]["name"].get<std::string>(), now));
    }
    if (HasFailure()) std::printf("%s\n", stage_->log().c_str());
  }

  static std::string name(int i) { return "ws-" + std::to_string(i); }

  // Throws where it does not in time.
  static void eventually(const std::string& what, const std::function<bool()>& holds) {
    const auto until = Clock::now() + kPatience;
    while (!holds()) {
      if (Clock::now() > until) throw std::runtime_error("never: " + what + "; " + stage_->wrong());
      std::this_thread::sleep_for(50ms);
    }
  }

  [[nodiscard]] std::string holder() const {
    const auto lease = stage_->admin->get(kube::resources::kLeases, "default", lease_);
    return lease ? (*lease)["spec"].value("holderIdentity", "") : std::string();
  }

  // What replaces every pod; each is a row of writes.
  void change() {
    const Json model{{"spec", {{"agent", {{"model", "m" + std::to_string(++asked_)}}}}}};
    for (int i = 0; i < 3; ++i) {
      const auto done =
          stage_->admin->patch(workspaces(), Stage::kNs, name(i), kube::PatchType::kMerge, model);
      ASSERT_TRUE(done) << done.error().text();
    }
  }
  void keep_asking() {
    ask_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        change();
        std::this_thread::sleep_for(100ms);
      }
    });
  }
  void stop_asking() { ask_ = {}; }

  // The second has taken over: all is as asked for, and the orders were held at every state.
  void followed(const Watcher& watcher) {
    eventually("all is as asked for", [&] { return stage_->wrong().empty(); });
    EXPECT_GT(second_->proxy->writes().times, 0U);
    EXPECT_NE(holder(), holder_);
    EXPECT_NE(holder(), "");
    EXPECT_THAT(second_->page("/metrics").body, HasSubstr("palisade_operator_leader 1"));
    EXPECT_EQ(watcher.verdict(), "");
    EXPECT_GT(watcher.seen(), 0U);
  }

  static inline std::unique_ptr<Stage> stage_;
  std::string lease_;
  std::string holder_;
  std::unique_ptr<One> first_, second_;
  std::atomic<int> asked_ = 0;
  std::jthread ask_;
};

TEST_F(Leader, OneThatIsKilledIsFollowed) {
  const Kubelet kubelet(stage_->admin);
  ASSERT_NO_FATAL_FAILURE(begin("killed", kLeaseSeconds));
  const Watcher watcher(stage_->admin);
  // In the midst of it.
  first_->proxy->stop_at(4, true);
  change();
  EXPECT_TRUE(first_->proxy->await_stop(30s));
  EXPECT_EQ(second_->proxy->writes().times, 0U);
  EXPECT_TRUE(first_->process->kill());
  first_->proxy->release();
  change();
  followed(watcher);
}

// A wider network that it had sent is carried out only after the next leader, to which it is no
// longer asked for, has started a pod: by then it is refused.
TEST_F(Leader, AWriteOfItsThatComesLateOpensNoNetwork) {
  const Kubelet kubelet(stage_->admin);
  ASSERT_NO_FATAL_FAILURE(begin("late", kLeaseSeconds));
  const auto egress = [] {
    const auto policy =
        stage_->admin->get(kube::resources::kNetworkPolicies, Stage::kNs, name(0) + "-agent");
    return policy ? (*policy)["spec"]["egress"] : Json();
  };
  const auto ask = [](const Json& rules) {
    const auto done =
        stage_->admin->patch(workspaces(), Stage::kNs, name(0), kube::PatchType::kMerge,
                             {{"spec", {{"isolation", {{"egress", rules}}}}}});
    ASSERT_TRUE(done) << done.error().text();
  };
  const Json before = egress();
  const Watcher watcher(stage_->admin);
  first_->proxy->stop_at(
      1, false, "PATCH " + kube::resources::kNetworkPolicies.path(Stage::kNs, name(0) + "-agent"));
  ask(Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "198.18.0.0/24"}}}}})}}}));
  ASSERT_TRUE(first_->proxy->await_stop(30s));
  EXPECT_TRUE(first_->process->kill());
  ask(Json::array());
  followed(watcher);
  first_->proxy->release();
  eventually("it is carried out", [&] { return first_->proxy->held_answer() != 0; });
  EXPECT_EQ(first_->proxy->held_answer(), 409);
  EXPECT_EQ(egress(), before);
  followed(watcher);
}

// It could write on, but cannot renew: it stops before the other begins, and ends.
TEST_F(Leader, OneThatCannotRenewStopsBeforeTheNextBegins) {
  const Kubelet kubelet(stage_->admin);
  ASSERT_NO_FATAL_FAILURE(begin("cut", kLeaseSeconds));
  const Watcher watcher(stage_->admin);
  keep_asking();
  const auto cut = Clock::now();
  first_->proxy->leases(false);
  EXPECT_EQ(first_->process->await_end(kPatience), 1);
  eventually("the second works", [&] { return second_->proxy->writes().times > 0; });
  stop_asking();
  EXPECT_GT(first_->proxy->writes().last, cut) << "it wrote as long as it led";
  EXPECT_LT(first_->proxy->writes().last, second_->proxy->writes().first);
  first_->proxy->leases(true);
  followed(watcher);
}

// It stands still while its Lease goes to the other, and hears of new work as it wakes.
TEST_F(Leader, OneThatStoodStillWritesNoMore) {
  const Kubelet kubelet(stage_->admin);
  ASSERT_NO_FATAL_FAILURE(begin("stopped", kLeaseSeconds));
  const Watcher watcher(stage_->admin);
  std::size_t times = 0;
  eventually("the first has nothing to do", [&] {
    const std::size_t before = std::exchange(times, first_->proxy->writes().times);
    std::this_thread::sleep_for(1s);
    return before == times;
  });
  first_->process->signal(SIGSTOP);
  const auto stopped = first_->proxy->writes().times;
  eventually("the second leads", [&] {
    const std::string now = holder();
    return !now.empty() && now != holder_;
  });
  change();
  eventually("the second works", [&] { return second_->proxy->writes().times > 0; });
  first_->process->signal(SIGCONT);
  change();
  EXPECT_EQ(first_->process->await_end(kPatience), 1);
  EXPECT_EQ(first_->proxy->writes().times, stopped);
  followed(watcher);
}

// Long before the Lease would be free.
TEST_F(Leader, OneThatIsToldToEndHandsOver) {
  const Kubelet kubelet(stage_->admin);
  ASSERT_NO_FATAL_FAILURE(begin("handed", 60));
  const Watcher watcher(stage_->admin);
  change();
  const auto told = Clock::now();
  first_->process->signal(SIGTERM);
  EXPECT_EQ(first_->process->await_end(kPatience), 0);
  const auto ended = Clock::now();
  change();
  eventually("the second works", [&] { return second_->proxy->writes().times > 0; });
  EXPECT_LT(first_->proxy->writes().last, second_->proxy->writes().first);
  EXPECT_LT(second_->proxy->writes().first - ended, 30s) << "it waited for the Lease to run out";
  const auto seconds = [](Clock::duration span) {
    return std::chrono::duration<double>(span).count();
  };
  std::printf("ended after %.2f s, followed after %.2f s more\n", seconds(ended - told),
              seconds(second_->proxy->writes().first - ended));
  followed(watcher);
}

}  // namespace
}  // namespace palisade::op::testing
