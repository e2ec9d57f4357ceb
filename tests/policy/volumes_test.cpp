// Volumes: which types, and what projected ones may bring along.
#include <gtest/gtest.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

json with_volume(const std::string& text) {
  json pod = good_pod();
  pod["spec"]["volumes"] = json::array({json::parse(text)});
  return pod;
}

TEST(Volumes, AllowedTypesPass) {
  for (
      const char* text :
      {R"({"name": "v", "configMap": {"name": "c"}})",
       R"({"name": "v", "secret": {"secretName": "s"}})",
       R"({"name": "v", "downwardAPI": {"items": []}})",
       R"({"name": "v", "emptyDir": {"sizeLimit": "1Mi"}})",
       R"({"name": "v", "persistentVolumeClaim": {"claimName": "fix-login-workspace"}})",
       R"({"name": "v", "ephemeral": {"volumeClaimTemplate": {}}})",
       R"({"name": "v", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}},
            {"downwardAPI": {}}, {"clusterTrustBundle": {"path": "ca.pem"}}]}})",
       R"({"name": "v", "hostPath": null, "configMap": {"name": "c"}})"}) {
    EXPECT_TRUE(findings_of(with_volume(text)).empty())
        << text << tell(findings_of(with_volume(text)));
  }
}

// What a setup has made is written by its own pod, and read by those of workspaces.
TEST(Volumes, WhatASetupHasMadeIsTheWorkspacesAloneAndReadOnly) {
  const std::string claim = "palisade-setup-0123456789abcdef0123456789abcdef";
  const struct {
    const char* label;
    std::string name;
    bool read_only;
    bool passes;
  } rows[] = {
      {"palisade.dev/workspace", claim, true, true},
      {"palisade.dev/workspace", claim, false, false},
      {"palisade.dev/setup", claim, false, true},
      {"palisade.dev/setup", "fix-login-workspace", false, false},
      {"", claim, true, false},
      {"", claim, false, false},
      {"", claim.substr(0, claim.size() - 1), false, true},
      {"", claim + "0", false, true},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.label) + " " + row.name);
    json pod = with_volume("{}");
    pod["spec"]["volumes"][0] = {
        {"name", "v"},
        {"persistentVolumeClaim", {{"claimName", row.name}, {"readOnly", row.read_only}}}};
    json& labels = pod["metadata"]["labels"];
    for (const char* label : {"palisade.dev/workspace", "palisade.dev/setup"})
      labels.erase(label);
    if (*row.label != '\0') labels[row.label] = "fix-login";
    const auto findings = findings_of(pod);
    ASSERT_EQ(findings.size(), row.passes ? 0U : 1U) << tell(findings);
    if (!row.passes) {
      EXPECT_EQ(findings[0].control, "volume-types");
      EXPECT_EQ(findings[0].field, "spec.volumes[0].persistentVolumeClaim.claimName");
    }
  }
  // By that alone a pod is one that is looked at.
  const auto reason = [](const json& pod) { return parsed(pod.dump(), agent_reason); };
  json plain = json::parse(
      R"({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}],
      "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "other"}}]}})");
  EXPECT_EQ(reason(plain), "");
  plain["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = claim;
  EXPECT_EQ(reason(plain), "it mounts what a workspace's setup has made");
}

// Another claim of the namespace is somebody's: a workspace's pod has its own alone.
TEST(Volumes, AWorkspacesPodHasItsOwnClaimAlone) {
  const std::string field = "spec.volumes[0].persistentVolumeClaim.claimName";
  const struct {
    const char* label;  // JSON; "" takes it away
    const char* claim;
    bool passes;
  } rows[] = {
      {R"("fix-login")", R"({"claimName": "fix-login-workspace"})", true},
      {R"("fix-login")", R"({"claimName": "fix-login-workspace", "readOnly": true})", true},
      {R"("fix-login")", R"({"claimName": "other-workspace"})", false},
      {R"("fix-login")", R"({"claimName": "fix-login"})", false},
      {R"("fix-login")", R"({"claimName": ""})", false},
      {R"("fix-login")", R"({})", false},
      {R"("fix-login")", R"({"claimName": null})", false},
      {R"("fix-login")", R"({"claimName": 1})", false},
      {R"("")", R"({"claimName": "c"})", false},
      {R"("")", R"({"claimName": "-workspace"})", true},
      {"", R"({"claimName": "c"})", true},
      {"null", R"({"claimName": "c"})", true},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(std::string(row.label) + " " + row.claim);
    json pod =
        with_volume(R"({"name": "v", "persistentVolumeClaim": )" + std::string(row.claim) + "}");
    json& labels = pod["metadata"]["labels"];
    labels.erase("palisade.dev/workspace");
    if (*row.label != '\0') labels["palisade.dev/workspace"] = json::parse(row.label);
    const auto findings = findings_of(pod);
    if (row.passes) {
      EXPECT_TRUE(findings.empty()) << tell(findings);
      continue;
    }
    EXPECT_EQ(fields_of(findings), std::vector<std::string>{field}) << tell(findings);
    EXPECT_EQ(controls_of(findings), std::set<std::string>{"volume-types"});
  }
  json garbled = with_volume(R"({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})");
  garbled["metadata"]["labels"]["palisade.dev/workspace"] = json::array();
  EXPECT_TRUE(controls_of(findings_of(garbled)).contains("volume-types"));
}

TEST(Volumes, OtherTypesAreRefusedByName) {
  for (const std::string type : {"hostPath",
                                 "gcePersistentDisk",
                                 "awsElasticBlockStore",
                                 "gitRepo",
                                 "nfs",
                                 "iscsi",
                                 "glusterfs",
                                 "rbd",
                                 "flexVolume",
                                 "cinder",
                                 "cephfs",
                                 "flocker",
                                 "fc",
                                 "azureFile",
                                 "vsphereVolume",
                                 "quobyte",
                                 "azureDisk",
                                 "portworxVolume",
                                 "photonPersistentDisk",
                                 "scaleIO",
                                 "storageos",
                                 "csi",
                                 "image",
                                 "aTypeOfTheFuture",
                                 "EmptyDir"}) {
    const auto findings = findings_of(with_volume(R"({"name": "v", ")" + type + R"(": {}})"));
    EXPECT_EQ(controls_of(findings), std::set<std::string>{"volume-types"}) << type;
    EXPECT_EQ(fields_of(findings), std::vector<std::string>{"spec.volumes[0]." + type});
  }
}

TEST(Volumes, TwoSourcesAreBothLookedAt) {
  const auto findings = findings_of(
      with_volume(R"({"name": "v", "configMap": {"name": "c"}, "hostPath": {"path": "/"}})"));
  EXPECT_EQ(fields_of(findings), std::vector<std::string>{"spec.volumes[0].hostPath"});
}

TEST(Volumes, SettingsAllowMoreButNeverMoreThanRestricted) {
  Settings settings;
  settings.allowed_volume_types = {"csi", "image", "hostPath", "nfs"};
  EXPECT_TRUE(
      findings_of(with_volume(R"({"name": "v", "csi": {"driver": "d"}})"), settings).empty());
  EXPECT_TRUE(findings_of(with_volume(R"({"name": "v", "image": {}})"), settings).empty());
  EXPECT_EQ(
      findings_of(with_volume(R"({"name": "v", "hostPath": {"path": "/"}})"), settings).size(), 1U);
  EXPECT_EQ(findings_of(with_volume(R"({"name": "v", "nfs": {}})"), settings).size(), 1U);
  EXPECT_EQ(findings_of(with_volume(R"({"name": "v", "configMap": {}})"), settings).size(), 1U);
}

TEST(Volumes, AWrongTypeIsNoPass) {
  for (const auto& [text, field] : std::vector<std::pair<std::string, std::string>>{
           {R"("x")", "spec.volumes[0]"},
           {"null", "spec.volumes[0]"},
           {R"({"name": "v", "configMap": "x"})", "spec.volumes[0].configMap"},
           {R"({"name": "v", "projected": {"sources": "x"}})", "spec.volumes[0].projected.sources"},
           {R"({"name": "v", "projected": {"sources": ["x"]}})",
            "spec.volumes[0].projected.sources[0]"},
           {R"({"name": "v", "projected": []})", "spec.volumes[0].projected"}}) {
    SCOPED_TRACE(text);
    const auto findings = findings_of(with_volume(text));
    bool found = false;
    for (const Finding& finding : findings) {
      found = found || (finding.control == "volume-types" && finding.field == field);
    }
    EXPECT_TRUE(found) << tell(findings);
  }
}

struct Token {
  const char* source;
  const char* field;    // below sources[0]
  const char* control;  // "" passes
};

TEST(Volumes, ProjectedTokensNeedAnAllowedAudience) {
  Settings settings;
  settings.allowed_token_audiences = {"vault", ""};
  for (const Token& token : {
           Token{R"({"serviceAccountToken": {"audience": "vault", "path": "t"}})", "", ""},
           Token{R"({"serviceAccountToken": {"audience": "other"}})",
                 ".serviceAccountToken.audience", "no-service-account-token"},
           Token{R"({"serviceAccountToken": {"audience": ""}})", ".serviceAccountToken.audience",
                 "no-service-account-token"},
           Token{R"({"serviceAccountToken": {"path": "t"}})", ".serviceAccountToken.audience",
                 "no-service-account-token"},
           Token{R"({"serviceAccountToken": {"audience": null}})", ".serviceAccountToken.audience",
                 "no-service-account-token"},
           Token{R"({"serviceAccountToken": {"audience": 1}})", ".serviceAccountToken.audience",
                 "no-service-account-token"},
           Token{R"({"podCertificate": {"signerName": "s"}})", ".podCertificate",
                 "no-service-account-token"},
           Token{R"({"aSourceOfTheFuture": {}})", ".aSourceOfTheFuture", "volume-types"},
       }) {
    SCOPED_TRACE(token.source);
    const auto findings = findings_of(with_volume(R"({"name": "v", "projected": {"sources": [)" +
                                                  std::string(token.source) + "]}}"),
                                      settings);
    if (std::string_view(token.control).empty()) {
      EXPECT_TRUE(findings.empty()) << tell(findings);
      continue;
    }
    EXPECT_EQ(controls_of(findings), std::set<std::string>{token.control});
    EXPECT_EQ(fields_of(findings), std::vector<std::string>{"spec.volumes[0].projected.sources[0]" +
                                                            std::string(token.field)});
  }
}

// Who stands beside the agent may prove who it is; the agent and whoever joins it may not.
TEST(Volumes, ATokenIsForASidecarAlone) {
  Settings settings;
  settings.allowed_token_audiences = {"vault"};
  const struct {
    const char* list;
    const char* field;  // "" passes
  } rows[] = {{"initContainers", ""},
              {"containers", "spec.containers[0].volumeMounts["},
              {"ephemeralContainers", "spec.ephemeralContainers[0].volumeMounts["}};
  for (const auto& row : rows) {
    json pod = good_pod_with_ephemeral();
    pod["spec"]["volumes"].push_back(json::parse(
        R"({"name": "identity", "projected": {"sources": [
              {"configMap": {"name": "c"}},
              {"serviceAccountToken": {"audience": "vault", "path": "t"}}]}})"));
    json& container = pod["spec"][row.list][0];
    EXPECT_TRUE(findings_of(pod, settings).empty()) << tell(findings_of(pod, settings));
    container["volumeMounts"].push_back({{"name", "identity"}, {"mountPath", "/id"}});
    const auto findings = findings_of(pod, settings);
    SCOPED_TRACE(tell(findings));
    if (std::string_view(row.field).empty()) {
      EXPECT_TRUE(findings.empty());
      continue;
    }
    ASSERT_EQ(controls_of(findings), std::set<std::string>{"no-service-account-token"});
    ASSERT_EQ(findings.size(), 1U);
    EXPECT_TRUE(findings[0].field.starts_with(row.field));
    EXPECT_TRUE(findings[0].field.ends_with("].name"));
    // One of the same name before it hides it from nobody.
    json& volumes = pod["spec"]["volumes"];
    const json first{{"name", "identity"}, {"emptyDir", {{"sizeLimit", "1Mi"}}}};
    volumes.insert(volumes.begin(), first);
    EXPECT_EQ(findings_of(pod, settings).size(), 1U);
  }
}

TEST(Volumes, ATokenOfTheWrongTypeIsNone) {
  const auto findings = findings_of(
      with_volume(R"({"name": "v", "projected": {"sources": [{"serviceAccountToken": "x"}]}})"));
  EXPECT_EQ(controls_of(findings),
            (std::set<std::string>{"known-fields", "no-service-account-token"}));
}

TEST(Volumes, AClaimTemplateAsksForNobodysVolume) {
  const auto claim = [](const std::string& spec) {
    return fields_of(findings_of(with_volume(
        R"({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": )" + spec + "}}}")));
  };
  const std::string at = "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.";
  EXPECT_TRUE(claim(R"({"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}},
                        "dataSourceRef": {"kind": "VolumeSnapshot", "name": "s"}})")
                  .empty());
  EXPECT_EQ(claim(R"({"volumeName": "pv-of-others"})"),
            std::vector<std::string>{at + "volumeName"});
  EXPECT_EQ(claim(R"({"volumeName": 1})"), std::vector<std::string>{at + "volumeName"});
  EXPECT_EQ(
      claim(R"({"dataSourceRef": {"kind": "VolumeSnapshot", "name": "s", "namespace": "b"}})"),
      std::vector<std::string>{at + "dataSourceRef.namespace"});
}

}  // namespace
}  // namespace palisade::policy::testing
