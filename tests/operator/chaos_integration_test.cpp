// The operator's program against a real etcd and API server while everything goes wrong: it is
// killed at chosen writes of creating, changing, suspending, resuming and deleting, alone or while
// another stands by; its watches are cut and stand still, its requests are refused and lost; the
// API server is killed; etcd freezes. The orders hold at every state, and in the end each workspace
// is exactly as its spec says.
//
// PALISADE_TEST_SEED chooses another run; PALISADE_TEST_KILLS=200 takes minutes, by hand.
#include <algorithm>
#include <array>
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "operator/chaos_world.h"
#include "operator/fixture.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr const char* kNs = Stage::kNs;

// The etcd that this process has started.
int etcd_pid() {
  const std::string own = std::to_string(getpid());
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (!std::ranges::all_of(name, [](unsigned char c) { return std::isdigit(c) != 0; })) continue;
    const std::string stat = slurp(entry.path() / "stat");
    if (stat.find("(etcd)") == std::string::npos) continue;
    const auto after = stat.rfind(") ");
    if (stat.substr(after + 4, stat.find(' ', after + 4) - after - 4) == own)
      return std::stoi(entry.path().filename());
  }
  throw std::runtime_error("no etcd");
}

class Chaos : public ::testing::Test {
 protected:
  void SetUp() override {
    proxy_ = stage_.proxy(seed_);
    operators_[0] = stage_.program(*proxy_, {"--no-lease"});
    random_.seed(seed_);
  }

  int pick(int below) { return std::uniform_int_distribution(0, below - 1)(random_); }

  // Something that a user asks for. What fails (the API server is away) is not asked for.
  void user() {
    const std::string name = "ws-" + std::to_string(pick(3));
    const auto found = admin_->get(workspaces(), kNs, name);
    if (!found) {
      static_cast<void>(admin_->create(workspaces(), kNs, stage_workspace(name)));
      return;
    }
    Json change;
    const std::string uid = (*found)["metadata"]["uid"];
    switch (pick(7)) {
      case 0:
        static_cast<void>(admin_->remove(workspaces(), kNs, name));
        return;
      case 6:
        // Once each: later losses are made good after a pause.
        if (lost_.insert(uid).second)
          static_cast<void>(admin_->remove(kPods, kNs, name + "-agent"));
        return;
      case 1:
      case 2:
        change = {{"lifecycle", {{"suspend", pick(2) == 0}}}};
        break;
      case 3:
        change = {{"agent", {{"model", "m" + std::to_string(pick(3))}}}};
        break;
      default: {
        Json egress = Json::array();
        for (int i = 0; i < 3; ++i) {
          if (pick(2) == 0)
            egress.push_back(
                {{"to", Json::array({{{"ipBlock",
                                       {{"cidr", "203.0.113." + std::to_string(i) + "/32"}}}}})}});
        }
        change = {{"isolation", {{"egress", egress}}}};
      }
    }
    static_cast<void>(
        admin_->patch(workspaces(), kNs, name, kube::PatchType::kMerge, {{"spec", change}}));
  }

  void fail_api_server() {
    ASSERT_TRUE(stage_.env->stop_apiserver(kube::EnvTest::Stop::kAbrupt));
    const auto back = stage_.env->start_apiserver();
    ASSERT_TRUE(back) << back.error().text();
  }

  static void freeze_etcd() {
    const int etcd = etcd_pid();
    ::kill(etcd, SIGSTOP);
    std::this_thread::sleep_for(1s);
    ::kill(etcd, SIGCONT);
  }

  // What has happened since the last time. No operator works now; its last writes are waited for.
  void judge() {
    const auto deadline = Clock::now() + 20s;
    for (std::size_t seen = 0; seen != watcher_->seen() && Clock::now() < deadline;) {
      seen = watcher_->seen();
      std::this_thread::sleep_for(1500ms);
    }
    EXPECT_EQ(watcher_->verdict(), "");
    seen_ += watcher_->seen();
    watcher_.reset();
  }

  // One operator, or two that share a Lease, until the first is killed at a write of what the user
  // asks for, or at any time where the other leads.
  void round(bool two) {
    proxy_->trouble(pick(3) * 5, pick(3) * 3);
    proxy_->stop_at(1 + pick(14), pick(2) == 0);
    for (int asked = 1 + pick(3); asked > 0; --asked)
      user();
    if (two) {
      // Whoever held the last round's has been killed.
      const std::vector<std::string> lease{"--lease=round-" + std::to_string(++rounds_)};
      for (auto& one : operators_)
        one = stage_.program(*proxy_, lease);
    }
    operators_[0]->start();
    if (two) operators_[1]->start();
    bool stopped = false;
    for (int i = 0; i < 8 && !stopped; ++i) {
      stopped = proxy_->await_stop(std::chrono::milliseconds(500));
      if (stopped) break;
      user();
      if (pick(4) == 0) proxy_->cut();
      proxy_->hold(pick(4) == 0);
    }
    stops_ += stopped ? 1 : 0;
    EXPECT_TRUE(operators_[0]->kill()) << "the operator had ended by itself";
    proxy_->release();
    if (two) {
      std::this_thread::sleep_for(std::chrono::milliseconds(pick(400)));
      EXPECT_TRUE(operators_[1]->kill()) << "the operator had ended by itself";
    }
    proxy_->hold(false);
    proxy_->cut();
  }

  const std::uint64_t seed_ = from_environment("PALISADE_TEST_SEED", 20267);
  const Stage stage_;
  const std::shared_ptr<const kube::Client> admin_ = stage_.admin;
  std::unique_ptr<ChaosProxy> proxy_;
  std::array<std::unique_ptr<OperatorProcess>, 2> operators_;
  std::mt19937_64 random_;
  int rounds_ = 0;              // of two
  int stops_ = 0;               // operators that were killed at the write that was chosen
  std::set<std::string> lost_;  // workspaces whose pod was deleted, by uid
  std::unique_ptr<Watcher> watcher_;
  std::size_t seen_ = 0;  // states that were judged
};

TEST_F(Chaos, OrdersHoldAndAllIsExactInTheEnd) {
  const auto kills = static_cast<int>(from_environment("PALISADE_TEST_KILLS", 16));
  std::printf("PALISADE_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed_));
  const Kubelet kubelet(admin_);
  watcher_ = std::make_unique<Watcher>(admin_);
  const int alone = kills - kills / 4;
  for (int kill = 0; kill < kills && !HasFailure(); ++kill) {
    round(kill >= alone);
    if (kill < alone && kill % 12 == 6) {
      // A server that starts anew does not tell what it was told before.
      judge();
      fail_api_server();
      watcher_ = std::make_unique<Watcher>(admin_);
    }
    if (kill % 12 == 10) freeze_etcd();
  }
  std::printf("%d of %d killed at a chosen write, %d requests refused or lost\n", stops_, kills,
              proxy_->misdeeds());
  EXPECT_GT(stops_, 0);
  EXPECT_GT(proxy_->misdeeds(), 0);
  judge();
  proxy_->trouble(0, 0);
  operators_[0] = stage_.program(*proxy_, {"--no-lease"});
  operators_[0]->start();
  std::string why = "not looked at";
  const auto deadline = Clock::now() + 90s;
  while (!(why = stage_.wrong()).empty() && Clock::now() < deadline)
    std::this_thread::sleep_for(200ms);
  EXPECT_EQ(why, "");
  EXPECT_TRUE(operators_[0]->kill()) << "the operator had ended by itself";
  EXPECT_GT(seen_, static_cast<std::size_t>(kills));
  if (HasFailure()) std::printf("%s\n", stage_.log().c_str());
}

}  // namespace
}  // namespace palisade::op::testing
