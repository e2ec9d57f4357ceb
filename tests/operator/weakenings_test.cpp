// Whatever is weakened in what the operator builds, policy/ rejects it and names the control: each
// single weakening at each place, and random ones on random workspaces.
#include "operator/weakenings.h"

#include <cstdlib>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace palisade::op::testing {
namespace {

using policy::testing::controls_of;
using policy::testing::findings_of;
using policy::testing::tell;

std::uint64_t seed() {
  const char* given = std::getenv("PALISADE_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 20260;
}

// A workspace that the schema accepts, of a shape chosen by `random`.
Json random_workspace(std::mt19937_64& random) {
  const auto coin = [&] { return std::uniform_int_distribution(0, 1)(random) == 1; };
  Json workspace = usual_workspace();
  Json& spec = workspace["spec"];
  if (coin()) spec.erase("task");
  if (coin()) spec["repository"].erase("credentials");
  if (coin()) spec["repository"]["access"] = "ReadOnly";
  if (coin()) spec["isolation"]["runtimeClassName"] = "gvisor";
  if (coin())
    spec["isolation"]["egress"] =
        Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}}})}}});
  if (coin()) spec["lifecycle"]["deadline"] = "24h";
  if (coin()) spec["agent"]["image"] = "registry.example.com/mine:1";
  if (coin()) spec["agent"]["resources"]["limits"] = {{"cpu", "500m"}, {"memory", "512Mi"}};
  return workspace;
}

TEST(Weakenings, TableNamesEveryControlAndEveryPlace) {
  const Json pod = with_ephemeral_container(pod_of(usual_workspace()));
  std::set<std::string> broken;
  std::set<std::string> known;
  std::map<std::string, std::set<std::string>> at;  // container -> controls
  for (const Weakening& weakening : weakenings_of(pod)) {
    broken.insert(weakening.control);
    for (const std::string place : {"/spec/initContainers/0", "/spec/initContainers/1",
                                    "/spec/containers/0", "/spec/ephemeralContainers/0"}) {
      if (weakening.changes[0].pointer.starts_with(place)) at[place].insert(weakening.control);
    }
  }
  for (const policy::Control& control : policy::controls()) {
    if (!control.needs_cluster) known.emplace(control.id);
  }
  EXPECT_EQ(broken, known);
  EXPECT_EQ(at["/spec/initContainers/0"], at["/spec/containers/0"]);
  EXPECT_EQ(at["/spec/initContainers/1"], at["/spec/containers/0"]);
  at["/spec/ephemeralContainers/0"].insert("resource-limits");
  EXPECT_EQ(at["/spec/ephemeralContainers/0"], at["/spec/containers/0"]);
  EXPECT_GT(at["/spec/containers/0"].size(), 15U);
}

TEST(Weakenings, EachAloneIsRejectedNamingItsControlAlone) {
  for (const Json& workspace : {usual_workspace(), minimal_workspace()}) {
    const Json pod = with_ephemeral_container(pod_of(workspace));
    ASSERT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
    for (const Weakening& weakening : weakenings_of(pod)) {
      const auto findings = findings_of(weakened(pod, weakening));
      EXPECT_EQ(controls_of(findings), std::set<std::string>{weakening.control})
          << weakening.name << "\n"
          << tell(findings);
      for (const policy::Finding& finding : findings)
        EXPECT_FALSE(finding.field.empty()) << weakening.name;
    }
  }
}

TEST(Weakenings, RandomOnesOnRandomWorkspacesAreRejected) {
  std::mt19937_64 random(seed());
  SCOPED_TRACE("PALISADE_TEST_SEED=" + std::to_string(seed()));
  for (int round = 0; round < 80; ++round) {
    Json pod = pod_of(random_workspace(random));
    if (round % 2 == 0) pod = with_ephemeral_container(std::move(pod));
    ASSERT_TRUE(findings_of(pod).empty()) << "round " << round << "\n" << tell(findings_of(pod));
    const auto all = weakenings_of(pod);
    const auto pick = [&]() -> const Weakening& {
      return all[std::uniform_int_distribution<std::size_t>(0, all.size() - 1)(random)];
    };
    const Weakening& one = pick();
    EXPECT_EQ(controls_of(findings_of(weakened(pod, one))), std::set<std::string>{one.control})
        << "round " << round << ": " << one.name;

    // Several at once: none hides another.
    std::vector<Weakening> several;
    for (int i = 0; i < 5; ++i) {
      const Weakening& next = pick();
      if (std::ranges::all_of(several, [&](const Weakening& w) { return apart(w, next); }))
        several.push_back(next);
    }
    std::set<std::string> expected;
    Json broken = pod;
    std::string names;
    for (const Weakening& weakening : several) {
      broken = weakened(std::move(broken), weakening);
      expected.insert(weakening.control);
      names += weakening.control + ": " + weakening.name + "\n";
    }
    const auto findings = findings_of(broken);
    EXPECT_EQ(controls_of(findings), expected) << "round " << round << "\n"
                                               << names << tell(findings);
  }
}

}  // namespace
}  // namespace palisade::op::testing
