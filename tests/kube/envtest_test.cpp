// EnvTest itself: what the other integration tests stand on.
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

namespace {

namespace fs = std::filesystem;
using kube::Client;
using kube::EnvTest;
using kube::Json;

const kube::Resource kThings{"test.palisade.dev", "v1", "things", "Thing", true};

Json config_map(const std::string& name) {
  return {{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", name}}}};
}

class EnvTestTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = Client::connect(env_->config(), Client::TransportKind::kBeast);
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }
  void SetUp() override { ASSERT_TRUE(env_); }

  static inline std::unique_ptr<EnvTest> env_;
  static inline std::unique_ptr<Client> client_;
};

TEST_F(EnvTestTest, AdministratorWritesAndReads) {
  const auto created = client_->create(kube::resources::kConfigMaps, "default", config_map("a"));
  ASSERT_TRUE(created) << created.error().text();
  EXPECT_TRUE(client_->get(kube::resources::kConfigMaps, "default", "a"));
}

TEST_F(EnvTestTest, RbacRefusesAnAccountWithoutARole) {
  const auto made = client_->create(
      kube::resources::kServiceAccounts, "default",
      {{"apiVersion", "v1"}, {"kind", "ServiceAccount"}, {"metadata", {{"name", "nobody"}}}});
  ASSERT_TRUE(made) << made.error().text();
  const kube::Resource tokens{"", "v1", "serviceaccounts/nobody/token", "TokenRequest", true};
  const auto token = client_->create(tokens, "default",
                                     {{"apiVersion", "authentication.k8s.io/v1"},
                                      {"kind", "TokenRequest"},
                                      {"spec", {{"expirationSeconds", 600}}}});
  ASSERT_TRUE(token) << token.error().text();

  kube::Config config = env_->config();
  const auto material = config.tls_material;
  config.tls_material = [material] { return kube::TlsMaterial{material().ca, "", ""}; };
  const std::string bearer = token->at("status").at("token");
  config.bearer_token = [bearer] { return bearer; };
  const auto nobody = Client::connect(config, Client::TransportKind::kBeast);
  const auto refused = nobody->get(kube::resources::kSecrets, "default", "x");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, 403) << refused.error().text();
  EXPECT_NE(refused.error().message.find("system:serviceaccount:default:nobody"),
            std::string::npos);
}

TEST_F(EnvTestTest, CrdIsServedOnceInstalled) {
  const fs::path file = fs::path(testing::TempDir()) / "things.yaml";
  std::ofstream(file) << R"(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.test.palisade.dev}
spec:
  group: test.palisade.dev
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                size: {type: integer, minimum: 1, default: 3}
                word: {type: string, default: "17"}
)";
  for (int i = 0; i < 2; ++i) {  // again: as it is
    const auto installed = env_->install_crd(file);
    ASSERT_TRUE(installed) << installed.error().text();
  }
  const auto created = client_->create(kThings, "default",
                                       {{"apiVersion", "test.palisade.dev/v1"},
                                        {"kind", "Thing"},
                                        {"metadata", {{"name", "one"}}},
                                        {"spec", Json::object()}});
  ASSERT_TRUE(created) << created.error().text();
  EXPECT_EQ(created->at("spec"), Json({{"size", 3}, {"word", "17"}}));
}

TEST_F(EnvTestTest, ProjectCrdInstalls) {
  const char* source = std::getenv("PALISADE_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  const auto installed =
      env_->install_crd(fs::path(source) / "crds/agentworkspaces.palisade.dev.yaml");
  EXPECT_TRUE(installed) << installed.error().text();
}

TEST_F(EnvTestTest, FileThatIsNoCrdIsRefusedByName) {
  const fs::path file = fs::path(testing::TempDir()) / "other.yaml";
  std::ofstream(file) << "kind: ConfigMap\n";
  const auto refused = env_->install_crd(file);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("other.yaml"), std::string::npos);
}

TEST_F(EnvTestTest, ApiServerComesBackWhereItWasWithItsData) {
  ASSERT_TRUE(client_->create(kube::resources::kConfigMaps, "default", config_map("kept")));
  const auto stopped = env_->stop_apiserver();
  ASSERT_TRUE(stopped) << stopped.error().text();
  const auto refused = client_->get(kube::resources::kConfigMaps, "default", "kept");
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is_transport()) << refused.error().text();
  EXPECT_FALSE(env_->stop_apiserver());
  const auto again = env_->start_apiserver();
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_FALSE(env_->start_apiserver());
  const auto kept = client_->get(kube::resources::kConfigMaps, "default", "kept");
  EXPECT_TRUE(kept) << kept.error().text();
}

TEST_F(EnvTestTest, CompactionMakesOldVersionsGone) {
  const auto old = client_->create(kube::resources::kConfigMaps, "default", config_map("older"));
  ASSERT_TRUE(old);
  ASSERT_TRUE(client_->create(kube::resources::kConfigMaps, "default", config_map("newer")));
  const auto compacted = env_->compact();
  ASSERT_TRUE(compacted) << compacted.error().text();
  // Until here the API server could answer from its watch cache.
  ASSERT_TRUE(env_->stop_apiserver(EnvTest::Stop::kAbrupt));
  const auto again = env_->start_apiserver();
  ASSERT_TRUE(again) << again.error().text();
  kube::ListOptions list;
  list.resource_version = old->at("metadata").at("resourceVersion");
  list.resource_version_match = "Exact";
  const auto listed = client_->list_page(kube::resources::kConfigMaps, list);
  ASSERT_FALSE(listed);
  EXPECT_TRUE(listed.error().is_gone()) << listed.error().text();
}

TEST(EnvTestStart, MissingBinariesSayHowToBuildThem) {
  EnvTest::Options options;
  options.tools_bin = "/nonexistent";
  const auto started = EnvTest::start(options);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("make tools"), std::string::npos);
}

TEST(EnvTestStart, ServerThatEndsIsAnErrorWithItsLog) {
  EnvTest::Options options;
  options.apiserver_flags = {"--no-such-flag"};
  const auto started = EnvTest::start(options);
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("exit status 1"), std::string::npos);
  EXPECT_NE(started.error().message.find("unknown flag: --no-such-flag"), std::string::npos);
}

}  // namespace
