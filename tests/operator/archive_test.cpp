// Sessions whose record and output go to the gateway's archive: what is made for it, what the
// status says, and AgentPolicies that demand it.
#include <gmock/gmock.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kWhere = "pvc://palisade-gateway/palisade-archive";

Defaults archiving() {
  Defaults out = gateway_defaults();
  out.gateway->archive = kWhere;
  return out;
}

Json relay_of(const Json& config_map) {
  return Json::parse(config_map["data"]["relay.json"].get<std::string>());
}
Json guard_of(const Json& config_map) {
  return Json::parse(config_map["data"]["guard.json"].get<std::string>());
}

Json record_mounts(const Json& pod, const char* name) {
  Json out = Json::array();
  for (const Json& mount : container(pod, name)["volumeMounts"]) {
    if (mount["name"] == "record") out.push_back(mount);
  }
  return out;
}

Model running_archived(const std::string& archive = kWhere) {
  Model model(usual_workspace(), true);
  model.config.defaults.gateway->archive = archive;
  model.settle();
  model.run();
  model.settle();
  return model;
}

// The session ends, and the relay has said so.
void end_with(Model& model, const Json& relays_word) {
  model.end("Succeeded", R"({"commits":0,"pushed":false})");
  Json containers = (*model.seen.pod)["status"]["initContainerStatuses"];
  containers.push_back(
      {{"name", "relay"},
       {"state", {{"terminated", {{"exitCode", 0}, {"message", relays_word.dump()}}}}}});
  model.edit(&Observed::pod, {{"status", {{"initContainerStatuses", containers}}}});
  model.settle();
}

TEST(ArchivePod, TheRelayReadsWhatGuardWritesAndSendsItWithItsToken) {
  const Workspace w = parsed(usual_workspace());
  const Json pod = desired_pod(w, archiving(), gateway_access(), "secret-token");
  EXPECT_EQ(
      record_mounts(pod, "relay"),
      Json::array({{{"name", "record"}, {"mountPath", "/palisade/record"}, {"readOnly", true}}}));
  EXPECT_EQ(pod["metadata"]["annotations"][kArchiveAnnotation], kWhere);
  const Json map = desired_config_map(w, archiving(), gateway_access(), unreachable());
  EXPECT_EQ(relay_of(map)["archive"],
            Json({{"url", "https://palisade-gateway.palisade-gateway.svc:8443/archive"},
                  {"address", "10.96.3.4"},
                  {"tokenFile", "/var/run/secrets/palisade/gateway/token"},
                  {"caFile", "/etc/palisade/gateway-ca.pem"},
                  {"record", "/palisade/record/record.jsonl"},
                  {"output", "/palisade/record/output.log"}}));
  // It is no route: the agent has a port for those alone.
  EXPECT_EQ(relay_of(map)["routes"],
            relay_of(desired_config_map(w, gateway_defaults(), gateway_access(), {}))["routes"]);
  EXPECT_GT(guard_of(map)["record"]["outputBytes"], 0);
}

TEST(ArchivePod, WithoutOneNothingIsAnother) {
  const Workspace w = parsed(usual_workspace());
  const Json pod = desired_pod(w, gateway_defaults(), gateway_access(), "secret-token");
  EXPECT_EQ(record_mounts(pod, "relay"), Json::array());
  EXPECT_FALSE(pod["metadata"]["annotations"].contains(kArchiveAnnotation));
  const Json map = desired_config_map(w, gateway_defaults(), gateway_access(), unreachable());
  EXPECT_FALSE(relay_of(map).contains("archive"));
  EXPECT_FALSE(guard_of(map).contains("record"));
  // Nor for a session that has no way to the gateway.
  const Json outside = desired_pod(w, archiving(), access(), "secret-token");
  EXPECT_EQ(record_mounts(outside, "relay"), Json::array());
  EXPECT_FALSE(relay_of(desired_config_map(w, archiving(), access(), {})).contains("archive"));
}

TEST(ArchivePod, APoolsPodsHaveItToo) {
  const Workspace w = parsed(usual_workspace());
  const PoolPlace place{w.ns, "pool", "pool-uid", "pool-x-agent", std::chrono::hours(1)};
  EXPECT_EQ(record_mounts(desired_warm_pod(place, w, archiving()), "relay").size(), 1U);
  EXPECT_NE(warm_shape(w, archiving()), warm_shape(w, gateway_defaults()));
}

TEST(ArchiveStatus, SaysWhereItGoesAndWhetherItIsWhole) {
  Model model = running_archived();
  const std::string where = std::string(kWhere) + "/team-a/fix-login/" +
                            model.seen.workspace["metadata"]["uid"].get<std::string>();
  EXPECT_EQ(model.seen.workspace["status"]["archive"], Json({{"location", where}}));
  EXPECT_EQ(model.condition("Archived")["status"], "Unknown");
  EXPECT_EQ(model.condition("Archived")["reason"], "Archiving");
  end_with(model,
           {{"requests", 3}, {"failures", 0}, {"archive", {{"bytes", 4711}, {"complete", true}}}});
  EXPECT_EQ(model.phase(), "Succeeded");
  EXPECT_EQ(model.seen.workspace["status"]["archive"],
            Json({{"location", where}, {"bytes", 4711}, {"complete", true}}));
  EXPECT_EQ(model.condition("Archived")["status"], "True");
  EXPECT_THAT(model.condition("Archived")["message"].get<std::string>(), HasSubstr(where));
  // It stays said once the pod is gone.
  model.seen.pod = nullptr;
  model.settle();
  EXPECT_EQ(model.condition("Archived")["status"], "True");
  EXPECT_EQ(model.seen.workspace["status"]["archive"]["complete"], true);
}

TEST(ArchiveStatus, WhatIsMissingIsSaid) {
  struct Case {
    Json relay;
    const char* reason;
    const char* says;
  };
  for (const Case& c :
       std::vector<Case>{{{{"requests", 1},
                           {"failures", 0},
                           {"archive",
                            {{"bytes", 12},
                             {"complete", false},
                             {"trouble", "the gateway cannot be reached\x1b[2J"}}}},
                          "Incomplete",
                          "the first 12 bytes: the gateway cannot be reached?[2J"},
                         {{{"requests", 1}, {"failures", 0}}, "NoReport", "without a word"},
                         {{{"requests", 1},
                           {"failures", 0},
                           {"archive", {{"bytes", "many"}, {"complete", "yes"}}}},
                          "Incomplete",
                          "the first 0 bytes"},
                         {{{"requests", 1}, {"failures", 0}, {"archive", "forged"}},
                          "NoReport",
                          "without a word"}}) {
    Model model = running_archived();
    end_with(model, c.relay);
    EXPECT_EQ(model.condition("Archived")["status"], "False") << c.relay;
    EXPECT_EQ(model.condition("Archived")["reason"], c.reason) << c.relay;
    EXPECT_THAT(model.condition("Archived")["message"].get<std::string>(), HasSubstr(c.says));
    EXPECT_EQ(model.seen.workspace["status"]["archive"]["complete"], false);
  }
}

TEST(ArchiveStatus, ALiveSessionGoesOnAsItBegan) {
  // Neither an archive that is new nor one that is gone ends it, and it says what is true of it.
  for (const bool before : {false, true}) {
    Model model = running_archived(before ? kWhere : "");
    const std::string uid = (*model.seen.pod)["metadata"]["uid"];
    model.config.defaults.gateway->archive = before ? "" : kWhere;
    model.settle();
    ASSERT_TRUE(model.seen.pod);
    EXPECT_EQ((*model.seen.pod)["metadata"]["uid"], uid);
    EXPECT_EQ(model.phase(), "Running");
    EXPECT_EQ(relay_of(*model.seen.config_map).contains("archive"), before);
    EXPECT_EQ(model.condition("Archived")["status"], before ? "Unknown" : "");
  }
}

TEST(ArchiveRequired, AWorkspaceThatWouldNotBeArchivedDoesNotStart) {
  policy::AgentPolicy demands;
  demands.name = "kept";
  demands.archive_required = true;
  Model model(usual_workspace(), true);
  model.seen.policies = std::vector{demands};
  model.settle();
  EXPECT_FALSE(model.seen.pod);
  EXPECT_EQ(model.condition("Accepted")["reason"], "ArchiveRequired");
  EXPECT_THAT(model.condition("Accepted")["message"].get<std::string>(),
              HasSubstr("AgentPolicy kept demands that sessions are archived, but no archive is "
                        "configured"));
  model.config.defaults.gateway->archive = kWhere;
  model.settle();
  EXPECT_TRUE(model.seen.pod);

  Model outside(usual_workspace(), false);
  outside.seen.policies = std::vector{demands};
  outside.settle();
  EXPECT_FALSE(outside.seen.pod);
  EXPECT_THAT(outside.condition("Accepted")["message"].get<std::string>(),
              HasSubstr("goes through no gateway of Palisade's"));
  // A policy that does not demand it changes nothing.
  outside.seen.policies = std::vector{policy::AgentPolicy{}};
  outside.settle();
  EXPECT_TRUE(outside.seen.pod);
}

}  // namespace
}  // namespace palisade::op::testing
