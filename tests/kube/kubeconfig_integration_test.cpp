// What kubectl works with, against a real API server: a program that gives tokens, a proxy, answers
// in gzip, and many writers of one object.
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/envtest.h>
#include <kube/patience.h>
#include <kube/reflector.h>

#include "kube/connect_proxy.h"

namespace {

using namespace std::chrono_literals;
using kube::Client;
using kube::EnvTest;
using kube::Json;
using kube::resources::kConfigMaps;
namespace fs = std::filesystem;

class Kubeconfigs : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    admin_ = Client::connect(env_->config(), Client::TransportKind::kBeast);
    std::string name = (fs::temp_directory_path() / "palisade-kubectl-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  static void TearDownTestSuite() {
    admin_.reset();
    env_.reset();
    fs::remove_all(folder_);
  }
  void SetUp() override { ASSERT_TRUE(admin_); }

  static fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  // A token of a new ServiceAccount that may do anything.
  static std::string token_of(const std::string& account) {
    const Json metadata{{"name", account}};
    EXPECT_TRUE(
        admin_->create(kube::resources::kServiceAccounts, "default",
                       {{"apiVersion", "v1"}, {"kind", "ServiceAccount"}, {"metadata", metadata}}));
    const auto bound = admin_->create(
        {"rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false}, "",
        {{"apiVersion", "rbac.authorization.k8s.io/v1"},
         {"kind", "ClusterRoleBinding"},
         {"metadata", metadata},
         {"roleRef",
          {{"apiGroup", "rbac.authorization.k8s.io"},
           {"kind", "ClusterRole"},
           {"name", "cluster-admin"}}},
         {"subjects",
          {{{"kind", "ServiceAccount"}, {"name", account}, {"namespace", "default"}}}}});
    EXPECT_TRUE(bound) << bound.error().text();
    kube::Request request;
    request.method = "POST";
    request.target = "/api/v1/namespaces/default/serviceaccounts/" + account + "/token";
    request.headers = {{"Content-Type", "application/json"}};
    request.body = R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}})";
    const auto answer = transport()->send(request, {});
    if (!answer || answer->status != 201) {
      ADD_FAILURE() << (answer ? answer->body : answer.error().text());
      return {};
    }
    return Json::parse(answer->body)["status"]["token"];
  }
  static std::unique_ptr<kube::Transport> transport() {
    const kube::Config config = env_->config();
    kube::TransportOptions options;
    options.base_url = config.server;
    options.tls_material = config.tls_material;
    options.accept_gzip = true;
    return kube::make_beast_transport(options);
  }

  static inline std::unique_ptr<EnvTest> env_;
  static inline std::unique_ptr<Client> admin_;
  static inline fs::path folder_;
};

TEST_F(Kubeconfigs, AProgramsTokenServesThroughAProxyAndIsAskedForAgainOnceItIsRefused) {
  const auto answer = [](const std::string& token) {
    return Json{{"kind", "ExecCredential"},
                {"apiVersion", "client.authentication.k8s.io/v1"},
                {"status", {{"token", token}}}}
        .dump();
  };
  write("answer-1", answer("long gone"));
  write("answer-2", answer(token_of("robot")));
  const auto plugin = write("plugin", "#!/bin/sh\ncd " + folder_.string() +
                                          "\necho run >> runs\ncat answer-$(wc -l < runs)\n");
  fs::permissions(plugin, fs::perms::owner_all);
  write("ca.pem", env_->config().tls_material().ca);
  const std::string server = env_->config().server;
  const auto proxy = scripted::connect_proxy(std::stoi(server.substr(server.rfind(':') + 1)));
  const auto config = kube::load_kubeconfig(
      write("config",
            "current-context: c\nclusters: [{name: k, cluster: {server: '" + server +
                "', certificate-authority: ca.pem, proxy-url: 'http://127.0.0.1:" + proxy->port() +
                "'}}]\nusers: [{name: u, user: {exec: {apiVersion: "
                "client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: "
                "Never}}}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"));
  ASSERT_TRUE(config) << config.error().text();
  const auto client = Client::connect(*config);
  const auto made = client->create(
      kConfigMaps, config->namespace_,
      {{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", "by-robot"}}}});
  ASSERT_TRUE(made) << made.error().text();
  kube::WatchOptions watched;
  watched.ns = config->namespace_;
  watched.field_selector = "metadata.name=by-robot";
  watched.resource_version = "0";
  std::string seen;
  const auto watch = client->watch(kConfigMaps, watched,
                                   [&seen](const kube::WatchEvent& event) {
                                     seen = event.object["metadata"]["name"];
                                     return false;
                                   },
                                   {});
  EXPECT_TRUE(watch) << watch.error().text();
  EXPECT_EQ(seen, "by-robot");
  std::ifstream runs(folder_ / "runs");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(runs), {}), "run\nrun\n");
  for (const std::string& head : proxy->notes())
    EXPECT_THAT(head, testing::StartsWith("CONNECT 127.0.0.1:"));
  EXPECT_GE(proxy->notes().size(), 2U) << "calls, and the watch";
}

TEST_F(Kubeconfigs, LargeListsComeInGzip) {
  for (int i = 0; i < 5; ++i) {
    const auto made =
        admin_->create(kConfigMaps, "default",
                       {{"apiVersion", "v1"},
                        {"kind", "ConfigMap"},
                        {"metadata", {{"name", "large-" + std::to_string(i)}}},
                        {"data", {{"text", std::string(100'000, static_cast<char>('a' + i))}}}});
    ASSERT_TRUE(made) << made.error().text();
  }
  kube::Request request;
  request.target = "/api/v1/namespaces/default/configmaps";
  const auto answer = transport()->send(request, {});
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(kube::header(answer->headers, "Content-Encoding"), "gzip");
  EXPECT_GT(answer->body.size(), 500'000U);
  kube::ListOptions options;
  options.ns = "default";
  const auto listed = admin_->list(kConfigMaps, options);
  ASSERT_TRUE(listed) << listed.error().text();
  EXPECT_EQ(std::ranges::count_if(
                listed->items,
                [](const Json& item) {
                  return item.value("data", Json::object()).value("text", "").size() == 100'000;
                }),
            5);
}

TEST_F(Kubeconfigs, AStreamingListIsTheList) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(admin_->create(kConfigMaps, "kube-system",
                               {{"apiVersion", "v1"},
                                {"kind", "ConfigMap"},
                                {"metadata", {{"name", "listed-" + std::to_string(i)}}}}));
  }
  kube::ReflectorOptions options;
  options.namespaces = {"kube-system"};
  std::mutex mutex;
  std::vector<std::string> asked;
  const auto noting = [&](std::shared_ptr<kube::Transport> inner) {
    class Noting final : public kube::Transport {
     public:
      Noting(std::shared_ptr<kube::Transport> below, std::mutex& guard,
             std::vector<std::string>& out)
          : inner_(std::move(below)), mutex_(guard), out_(out) {}
      kube::Result<kube::Response> send(const kube::Request& request,
                                        std::stop_token stop) override {
        note(request);
        return inner_->send(request, stop);
      }
      kube::Result<kube::Response> stream(const kube::Request& request, const ChunkSink& sink,
                                          std::chrono::milliseconds idle,
                                          std::stop_token stop) override {
        note(request);
        return inner_->stream(request, sink, idle, stop);
      }

     private:
      void note(const kube::Request& request) {
        const std::scoped_lock lock(mutex_);
        out_.push_back(request.target);
      }
      std::shared_ptr<kube::Transport> inner_;
      std::mutex& mutex_;
      std::vector<std::string>& out_;
    };
    return std::make_shared<Noting>(std::move(inner), mutex, asked);
  };
  const std::shared_ptr<const Client> client =
      Client::connect(env_->config(), Client::TransportKind::kCpprest, 30s, noting);
  const auto state = [&](bool streaming) {
    options.streaming_list = streaming;
    kube::Reflector reflector(client, kConfigMaps, options, {});
    reflector.start();
    EXPECT_TRUE(reflector.wait_for_sync(60s)) << reflector.last_error();
    std::map<std::string, Json> out;
    for (const auto& object : reflector.cache().all())
      out[kube::object_key(*object)] = *object;
    return out;
  };
  const auto streamed = state(true);
  {
    const std::scoped_lock lock(mutex);
    EXPECT_THAT(asked, testing::Each(testing::HasSubstr("watch=true")));
    EXPECT_THAT(asked.front(), testing::HasSubstr("sendInitialEvents=true"));
  }
  EXPECT_GE(streamed.size(), 20U);
  EXPECT_EQ(streamed, state(false));
}

TEST_F(Kubeconfigs, ManyWritersLoseNoChange) {
  ASSERT_TRUE(admin_->create(kConfigMaps, "default",
                             {{"apiVersion", "v1"},
                              {"kind", "ConfigMap"},
                              {"metadata", {{"name", "counter"}}},
                              {"data", {{"count", "0"}}}}));
  constexpr int kWriters = 4;
  constexpr int kEach = 5;
  {
    std::vector<std::jthread> writers;
    for (int i = 0; i < kWriters; ++i) {
      writers.emplace_back([] {
        for (int j = 0; j < kEach; ++j) {
          const auto written = kube::read_change_write(
              *admin_, kConfigMaps, "default", "counter",
              [](Json& object) -> kube::Result<bool> {
                std::string& count = object["data"]["count"].get_ref<std::string&>();
                count = std::to_string(std::stoi(count) + 1);
                return true;
              },
              {"", 100});
          EXPECT_TRUE(written) << written.error().text();
        }
      });
    }
  }
  const auto counter = admin_->get(kConfigMaps, "default", "counter");
  ASSERT_TRUE(counter);
  EXPECT_EQ((*counter)["data"]["count"], std::to_string(kWriters * kEach));
}

}  // namespace
