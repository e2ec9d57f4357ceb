// The promises of decide() over random lives: after every single action of every plan no live pod
// is without its policy and no live pod's network has grown; whatever happens, it settles.
#include <cstdlib>
#include <random>

#include <gtest/gtest.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

std::uint64_t seed() {
  const char* given = std::getenv("PALISADE_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 20261;
}

Json rule(int number) {
  return {{"to",
           Json::array({{{"ipBlock", {{"cidr", "203.0.113." + std::to_string(number) + "/32"}}}}})},
          {"ports", Json::array({{{"port", 443}, {"protocol", "TCP"}}})}};
}

// What a pod that runs (or may be scheduled) has been able to reach since it was made.
struct Watcher {
  std::string uid;
  Json made_with = Json::array();  // the rules of its policy when it was freed

  void look(const Model& model, const std::string& after) {
    const auto& pod = model.seen.pod;
    if (after.starts_with("delete Secret")) {
      EXPECT_FALSE(pod) << after << ": a pod outlives its token";
    }
    if (after.starts_with("delete PersistentVolumeClaim")) {
      EXPECT_FALSE(pod) << after << ": a pod outlives its volume";
    }
    const bool stored = model.seen.workspace["spec"].contains("storage");
    if (pod && stored && !(*pod)["metadata"].contains("deletionTimestamp")) {
      EXPECT_TRUE(model.seen.volume) << after << ": a pod without its volume";
    }
    const bool live = pod && !(*pod)["spec"].contains("schedulingGates");
    if (!live) {
      uid.clear();
      return;
    }
    const auto& policy = model.seen.network_policy;
    ASSERT_TRUE(policy) << after << ": a pod lives without its policy";
    const Json& spec = (*policy)["spec"];
    EXPECT_EQ(spec["podSelector"], Json({{"matchLabels", {{kWorkspaceLabel, "fix-login"}}}}))
        << after;
    EXPECT_EQ(spec["policyTypes"], Json({"Ingress", "Egress"})) << after;
    EXPECT_FALSE(spec.contains("ingress")) << after;
    const std::string now = (*pod)["metadata"]["uid"];
    if (now != uid) {
      uid = now;
      made_with = spec["egress"];
    }
    for (const Json& open : spec["egress"])
      EXPECT_NE(std::ranges::find(made_with, open), made_with.end())
          << after << ": a live pod's network has grown by " << open;
    made_with = spec["egress"];
  }
};

class Life {
 public:
  // Every other one with Palisade's own gateway, every third one with a volume.
  explicit Life(std::uint64_t number)
      : own_gateway_(number % 2 == 1), random_(number), model_(usual_workspace(), own_gateway_) {
    if (number % 3 == 0) model_.spec()["storage"] = Json::object();
  }

  void live() {
    model_.spec()["lifecycle"]["maxRestarts"] = 10;
    for (int step = 0; step < 40 && !model_.gone; ++step) {
      const std::string event = happen();
      history_ += event + "; ";
      const bool drifted = event.starts_with("drift");
      if (drifted) {
        // Somebody else opened it; the next plan closes it before anything else is judged.
        repair();
      } else {
        reconcile();
      }
      if (::testing::Test::HasFailure()) return;
    }
    finish();
  }
  [[nodiscard]] const std::string& history() const { return history_; }

 private:
  int pick(int below) { return std::uniform_int_distribution(0, below - 1)(random_); }

  std::string happen() {
    Json& metadata = model_.seen.workspace["metadata"];
    model_.now += std::chrono::seconds(pick(300));
    const auto changed = [&](const std::string& what) {
      metadata["generation"] = metadata["generation"].get<int>() + 1;
      return what;
    };
    switch (pick(19)) {
      case 0:
      case 1:
      case 2: {
        Json egress = Json::array();
        for (int i = 0; i < 3; ++i) {
          if (pick(2) == 0) egress.push_back(rule(i));
        }
        model_.spec()["isolation"]["egress"] = egress;
        return changed("egress " + std::to_string(egress.size()));
      }
      case 3:
        model_.spec()["agent"]["model"] = "m" + std::to_string(pick(3));
        return changed("model");
      case 4:
        model_.spec()["lifecycle"]["suspend"] = pick(3) == 0;
        return changed("suspend");
      case 5:
        model_.seen.token = std::unexpected(Problem{"SecretNotFound", "gone"});
        return "secret gone";
      case 6:
        model_.seen.token = "token-" + std::to_string(pick(3));
        return "token";
      case 7:
        model_.seen.access = std::unexpected(Problem{"EndpointUnresolved", "no answer"});
        return "no name service";
      case 8: {
        Access moved = where();
        if (!moved.git_url.empty()) return "nothing";
        const std::string address = "192.0.2." + std::to_string(10 + pick(3));
        moved.git.alias = address;
        moved.git.peers = Json::array({{{"ipBlock", {{"cidr", address + "/32"}}}}});
        model_.seen.access = moved;
        return "git host at " + address;
      }
      case 15:
        if (!own_gateway_) return "nothing";
        direct_ = !direct_;
        model_.spec()["repository"]["via"] = direct_ ? "Direct" : "Gateway";
        model_.seen.access = where();
        return changed(direct_ ? "round the gateway" : "through the gateway");
      case 16:
        if (!own_gateway_) return "nothing";
        if (pick(3) == 0) {
          model_.seen.gateway_ca = std::unexpected(Problem{"GatewayNotReady", "none"});
          return "no authorities";
        }
        model_.seen.gateway_ca = "-----BEGIN CERTIFICATE-----" + std::to_string(pick(3));
        return "authorities";
      case 9:
        if (model_.seen.pod && !(*model_.seen.pod)["spec"].contains("schedulingGates"))
          model_.run();
        return "kubelet runs";
      case 10:
      case 11:
        model_.let_go();
        return "kubelet lets go";
      case 12:
        model_.edit(&Observed::network_policy,
                    {{"spec", {{"egress", Json::array({Json::object()})}}}});
        return "drift: egress opened";
      case 13:
        model_.edit(&Observed::network_policy,
                    {{"spec", {{"ingress", Json::array({Json::object()})}}}});
        return "drift: ingress opened";
      case 14:
        model_.edit(&Observed::config_map, {{"data", {{"courier.json", "{}"}, {"x", "y"}}}});
        return "config map edited";
      case 17:
        if (!model_.seen.pod || (*model_.seen.pod)["spec"].contains("schedulingGates"))
          return "nothing";
        if (pick(2) == 0) {
          model_.edit(&Observed::pod, {{"status", {{"phase", "Failed"}, {"reason", "NodeLost"}}}});
          return "node lost";
        }
        model_.edit(&Observed::pod,
                    {{"metadata", {{"deletionTimestamp", format_time(model_.now)}}}});
        return "drained";
      default:
        if (pick(8) == 0) {
          metadata["deletionTimestamp"] = format_time(model_.now);
          // Without a finalizer it is gone at once; nothing was made yet.
          model_.gone = metadata.value("finalizers", Json::array()).empty();
        }
        return metadata.contains("deletionTimestamp") ? "deleted" : "nothing";
    }
  }

  // Plans are cut short now and then: the executor stops at the first action that fails.
  void reconcile() {
    const Plan plan = model_.decide();
    const std::size_t upto =
        pick(4) == 0 ? static_cast<std::size_t>(pick(static_cast<int>(plan.actions.size()) + 1))
                     : plan.actions.size();
    for (std::size_t i = 0; i < upto; ++i) {
      model_.carry_out(plan.actions[i]);
      watcher_.look(model_, tell(plan.actions[i]) + " of [" + tell(plan) + "]");
    }
  }

  void repair() {
    model_.settle();
    const bool kept = model_.seen.network_policy && model_.seen.pod &&
                      !(*model_.seen.pod)["metadata"].contains("deletionTimestamp");
    if (kept && model_.condition("Accepted")["status"] == "True") {
      watcher_.look(model_, "put right");
    } else if (model_.seen.network_policy) {
      // Nothing is put right while the workspace is refused or on its way out: close it by hand.
      model_.edit(&Observed::network_policy,
                  {{"spec", {{"ingress", nullptr}, {"egress", watcher_.made_with}}}});
    }
  }

  // What is looked up for the spec as it stands.
  [[nodiscard]] Access where() const {
    if (!own_gateway_) return access();
    Access out = gateway_access();
    if (direct_) {
      out.git = access().git;
      out.git_url.clear();
    }
    return out;
  }

  // Everything works again: it settles with a pod that runs in the network that the spec asks for.
  void finish() {
    model_.seen.token = "token-9";
    model_.seen.access = where();
    if (own_gateway_) model_.seen.gateway_ca = gateway().authorities;
    model_.spec()["lifecycle"]["suspend"] = false;
    const auto look = [&](const Action& action) { watcher_.look(model_, tell(action)); };
    for (int i = 0; i < 3 && !model_.gone; ++i) {
      model_.settle(look);
      model_.let_go();
      // No pause after a lost pod is longer.
      model_.now += std::chrono::seconds(300);
    }
    EXPECT_EQ(model_.settle(look), 0) << tell(model_.decide());
    if (model_.gone) {
      for (const auto& left :
           {model_.seen.pod, model_.seen.network_policy, model_.seen.secret,
            model_.seen.gateway_secret, model_.seen.config_map, model_.seen.service_account})
        EXPECT_FALSE(left);
      return;
    }
    const bool through = own_gateway_ && !direct_;
    ASSERT_TRUE(model_.seen.pod);
    EXPECT_FALSE((*model_.seen.pod)["spec"].contains("schedulingGates"));
    EXPECT_EQ(
        (*model_.seen.network_policy)["spec"]["egress"].size(),
        (through ? 1U : 2U) +
            model_.spec().value("isolation", Json::object()).value("egress", Json::array()).size());
    // The token is where it is used and nowhere else.
    const auto& held = through ? model_.seen.gateway_secret : model_.seen.secret;
    ASSERT_TRUE(held);
    EXPECT_EQ((*held)["data"]["token"], "dG9rZW4tOQ==");
    EXPECT_FALSE(through ? model_.seen.secret : model_.seen.gateway_secret);
    EXPECT_EQ((*model_.seen.config_map)["data"].value("gateway-ca.pem", ""),
              own_gateway_ ? gateway().authorities : "");
  }

  const bool own_gateway_;
  bool direct_ = false;
  std::mt19937_64 random_;
  Model model_;
  Watcher watcher_;
  std::string history_;
};

TEST(Promises, HoldAfterEveryActionOfEveryPlan) {
  for (std::uint64_t i = 0; i < 60; ++i) {
    SCOPED_TRACE("PALISADE_TEST_SEED=" + std::to_string(seed()) + ", life " + std::to_string(i));
    Life life(seed() * 1000 + i);
    life.live();
    ASSERT_FALSE(HasFailure()) << life.history();
  }
}

}  // namespace
}  // namespace palisade::op::testing
