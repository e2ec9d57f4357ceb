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
       R"({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})",
       R"({"name": "v", "ephemeral": {"volumeClaimTemplate": {}}})",
       R"({"name": "v", "projected": {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}},
            {"downwardAPI": {}}, {"clusterTrustBundle": {"path": "ca.pem"}}]}})",
       R"({"name": "v", "hostPath": null, "configMap": {"name": "c"}})"}) {
    EXPECT_TRUE(findings_of(with_volume(text)).empty())
        << text << tell(findings_of(with_volume(text)));
  }
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
           Token{R"({"serviceAccountToken": "x"})", ".serviceAccountToken",
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

}  // namespace
}  // namespace palisade::policy::testing
