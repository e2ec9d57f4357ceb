// The client, the reflector and the events against a real API server, over both transports.
#include <mutex>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include <kube/envtest.h>
#include <kube/events.h>
#include <kube/reflector.h>

namespace {

using namespace std::chrono_literals;
using kube::Client;
using kube::EnvTest;
using kube::Json;
using kube::resources::kConfigMaps;
using Kind = Client::TransportKind;
using Clock = std::chrono::steady_clock;

Json config_map(const std::string& name, const Json& data = Json::object()) {
  return {
      {"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"metadata", {{"name", name}}}, {"data", data}};
}
std::string metadata(const Json& object, const char* field) {
  return object.at("metadata").at(field).get<std::string>();
}
bool eventually(const std::function<bool()>& what) {
  for (const auto deadline = Clock::now() + 60s; Clock::now() < deadline;
       std::this_thread::sleep_for(20ms)) {
    if (what()) return true;
  }
  return what();
}

class ClientIntegration : public testing::TestWithParam<Kind> {
 protected:
  static void SetUpTestSuite() {
    auto started = EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
  }
  static void TearDownTestSuite() { env_.reset(); }
  void SetUp() override {
    ASSERT_TRUE(env_);
    client_ = Client::connect(env_->config(), GetParam());
    // A namespace of this test alone.
    ns_ = "t" + std::to_string(++count_);
    const auto made = client_->create(
        kube::resources::kNamespaces, "",
        {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", ns_}}}});
    ASSERT_TRUE(made) << made.error().text();
  }

  static inline std::unique_ptr<EnvTest> env_;
  static inline int count_ = 0;
  std::shared_ptr<Client> client_;
  std::string ns_;
};
INSTANTIATE_TEST_SUITE_P(Both, ClientIntegration, testing::Values(Kind::kCpprest, Kind::kBeast),
                         [](const auto& kind) {
                           return kind.param == Kind::kCpprest ? "Cpprest" : "Beast";
                         });

TEST_P(ClientIntegration, ObjectLivesAndDies) {
  const auto created = client_->create(kConfigMaps, ns_, config_map("a", {{"k", "1"}}));
  ASSERT_TRUE(created) << created.error().text();
  const auto again = client_->create(kConfigMaps, ns_, config_map("a"));
  ASSERT_FALSE(again);
  EXPECT_TRUE(again.error().is_already_exists()) << again.error().text();

  Json edited = *created;
  edited["data"]["k"] = "2";
  const auto updated = client_->update(kConfigMaps, ns_, "a", edited);
  ASSERT_TRUE(updated) << updated.error().text();
  const auto stale = client_->update(kConfigMaps, ns_, "a", edited);
  ASSERT_FALSE(stale);
  EXPECT_TRUE(stale.error().is_conflict()) << stale.error().text();
  const auto patched = client_->patch(kConfigMaps, ns_, "a", kube::PatchType::kMerge,
                                      {{"data", {{"k", nullptr}, {"l", "3"}}}});
  ASSERT_TRUE(patched) << patched.error().text();
  EXPECT_EQ(client_->get(kConfigMaps, ns_, "a")->at("data"), Json({{"l", "3"}}));

  kube::DeleteOptions wrong;
  wrong.uid = "00000000-0000-0000-0000-000000000000";
  const auto kept = client_->remove(kConfigMaps, ns_, "a", wrong);
  ASSERT_FALSE(kept);
  EXPECT_TRUE(kept.error().is_conflict()) << kept.error().text();
  wrong = {};
  wrong.resource_version = metadata(*created, "resourceVersion");
  EXPECT_FALSE(client_->remove(kConfigMaps, ns_, "a", wrong));
  kube::DeleteOptions right;
  right.uid = metadata(*created, "uid");
  const auto removed = client_->remove(kConfigMaps, ns_, "a", right);
  EXPECT_TRUE(removed) << removed.error().text();
  EXPECT_TRUE(client_->get(kConfigMaps, ns_, "a").error().is_not_found());
  EXPECT_TRUE(client_->remove(kConfigMaps, ns_, "a").error().is_not_found());
}

TEST_P(ClientIntegration, InvalidObjectNamesItsFields) {
  Json bad = config_map("Not_A_Name");
  const auto refused = client_->create(kConfigMaps, ns_, bad);
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().is_invalid());
  ASSERT_FALSE(refused.error().causes.empty());
  EXPECT_EQ(refused.error().causes[0].field, "metadata.name");
}

TEST_P(ClientIntegration, ListComesInPages) {
  std::set<std::string> expected;
  for (int i = 0; i < 23; ++i) {
    ASSERT_TRUE(client_->create(kConfigMaps, ns_, config_map("c" + std::to_string(i))));
    expected.insert("c" + std::to_string(i));
  }
  kube::ListOptions options;
  options.ns = ns_;
  options.limit = 5;
  const auto page = client_->list_page(kConfigMaps, options);
  ASSERT_TRUE(page) << page.error().text();
  EXPECT_EQ(page->items.size(), 5U);
  EXPECT_FALSE(page->continue_token.empty());
  const auto all = client_->list(kConfigMaps, options);
  ASSERT_TRUE(all) << all.error().text();
  std::set<std::string> names;
  for (const Json& item : all->items)
    names.insert(metadata(item, "name"));
  EXPECT_EQ(names, expected);
  EXPECT_EQ(all->items.size(), 23U);
}

TEST_P(ClientIntegration, WatchTellsWhatHappens) {
  kube::ListOptions list;
  list.ns = ns_;
  const auto before = client_->list(kConfigMaps, list);
  ASSERT_TRUE(before);
  std::jthread writer([this] {
    EXPECT_TRUE(client_->create(kConfigMaps, ns_, config_map("w")));
    EXPECT_TRUE(
        client_->patch(kConfigMaps, ns_, "w", kube::PatchType::kMerge, {{"data", {{"a", "b"}}}}));
    EXPECT_TRUE(client_->remove(kConfigMaps, ns_, "w"));
  });
  kube::WatchOptions options;
  options.ns = ns_;
  options.resource_version = before->resource_version;
  options.server_timeout = 60s;
  std::vector<kube::WatchEventType> types;
  const auto watched = client_->watch(kConfigMaps, options,
                                      [&](const kube::WatchEvent& event) {
                                        if (event.type != kube::WatchEventType::kBookmark)
                                          types.push_back(event.type);
                                        return types.size() < 3;
                                      },
                                      {});
  ASSERT_TRUE(watched) << watched.error().text();
  using enum kube::WatchEventType;
  EXPECT_EQ(types, (std::vector{kAdded, kModified, kDeleted}));
}

TEST_P(ClientIntegration, ServerSideApplyKeepsOwnersApart) {
  kube::ApplyOptions first;
  first.field_manager = "first";
  ASSERT_TRUE(
      client_->apply(kConfigMaps, ns_, "s", config_map("s", {{"a", "1"}, {"b", "1"}}), first));
  kube::ApplyOptions second;
  second.field_manager = "second";
  second.force = false;
  const auto conflict =
      client_->apply(kConfigMaps, ns_, "s", config_map("s", {{"a", "2"}}), second);
  ASSERT_FALSE(conflict);
  EXPECT_TRUE(conflict.error().is_conflict()) << conflict.error().text();
  ASSERT_FALSE(conflict.error().causes.empty());
  EXPECT_EQ(conflict.error().causes[0].field, ".data.a");
  second.force = true;
  second.dry_run = true;
  ASSERT_TRUE(client_->apply(kConfigMaps, ns_, "s", config_map("s", {{"a", "2"}}), second));
  EXPECT_EQ(client_->get(kConfigMaps, ns_, "s")->at("data").at("a"), "1");
  second.dry_run = false;
  ASSERT_TRUE(client_->apply(kConfigMaps, ns_, "s", config_map("s", {{"a", "2"}}), second));
  // The first takes back what it no longer names, and leaves what the second owns.
  ASSERT_TRUE(client_->apply(kConfigMaps, ns_, "s", config_map("s"), first));
  EXPECT_EQ(client_->get(kConfigMaps, ns_, "s")->at("data"), Json({{"a", "2"}}));
}

TEST_P(ClientIntegration, EventsAndTheirSeriesAreAccepted) {
  const auto object = client_->create(kConfigMaps, ns_, config_map("e"));
  ASSERT_TRUE(object);
  Json regarding = *object;
  regarding["apiVersion"] = "v1";
  regarding["kind"] = "ConfigMap";
  {
    kube::EventRecorder events(client_, "palisade.dev/test", "pod-1");
    for (int i = 0; i < 3; ++i)
      events.record(regarding, kube::EventType::kWarning, "Refused", "Reconcile", "no such image");
    events.record(regarding, kube::EventType::kNormal, "Long", "Reconcile",
                  std::string(1023, 'x') + "\xf0\x9f\x94\x92");
  }
  kube::ListOptions options;
  options.ns = ns_;
  const auto listed = client_->list(kube::resources::kEvents, options);
  ASSERT_TRUE(listed) << listed.error().text();
  ASSERT_EQ(listed->items.size(), 2U);
  for (const Json& event : listed->items) {
    if (event.at("reason") == "Refused") {
      EXPECT_EQ(event.at("series").at("count"), 3);
    }
  }
}

// The API server goes, at times abruptly, and comes back, once without what the reflector knew:
// in the end the cache is what the server holds, and the events add up to it.
TEST_P(ClientIntegration, ReflectorOutlivesTheApiServer) {
  std::mutex mutex;
  std::map<std::string, std::string> told;  // name to version, by the events alone
  std::vector<std::string> faults;
  const auto name = [](const kube::ObjectPtr& o) { return metadata(*o, "name"); };
  const auto version = [](const kube::ObjectPtr& o) { return metadata(*o, "resourceVersion"); };
  kube::EventHandler handler;
  handler.on_add = [&](const kube::ObjectPtr& o) {
    const std::scoped_lock lock(mutex);
    if (!told.emplace(name(o), version(o)).second) faults.push_back("added twice: " + name(o));
  };
  handler.on_update = [&](const kube::ObjectPtr& before, const kube::ObjectPtr& after) {
    const std::scoped_lock lock(mutex);
    if (told[name(after)] != version(before)) faults.push_back("update of another: " + name(after));
    told[name(after)] = version(after);
  };
  handler.on_delete = [&](const kube::ObjectPtr& o) {
    const std::scoped_lock lock(mutex);
    if (told.erase(name(o)) == 0) faults.push_back("deleted twice: " + name(o));
  };
  kube::ReflectorOptions options;
  options.namespaces = {ns_};
  options.backoff_initial = 50ms;
  options.backoff_max = 500ms;
  kube::Reflector reflector(client_, kConfigMaps, options, handler);
  ASSERT_TRUE(client_->create(kConfigMaps, ns_, config_map("kept")));
  ASSERT_TRUE(client_->create(kConfigMaps, ns_, config_map("doomed")));
  reflector.start();
  ASSERT_TRUE(reflector.wait_for_sync(60s));

  for (const auto how : {EnvTest::Stop::kGraceful, EnvTest::Stop::kAbrupt}) {
    ASSERT_TRUE(env_->stop_apiserver(how));
    const auto again = env_->start_apiserver();
    ASSERT_TRUE(again) << again.error().text();
    const std::string fresh = how == EnvTest::Stop::kGraceful ? "one" : "two";
    const auto created = client_->create(kConfigMaps, ns_, config_map(fresh));
    ASSERT_TRUE(created) << created.error().text();
    ASSERT_TRUE(client_->patch(kConfigMaps, ns_, "kept", kube::PatchType::kMerge,
                               {{"data", {{"after", fresh}}}}));
    EXPECT_TRUE(eventually([&] { return reflector.cache().get(ns_, fresh) != nullptr; }))
        << reflector.last_error();
    ASSERT_TRUE(env_->compact());
  }
  ASSERT_TRUE(client_->remove(kConfigMaps, ns_, "doomed"));
  EXPECT_TRUE(eventually([&] { return reflector.cache().get(ns_, "doomed") == nullptr; }));

  kube::ListOptions all;
  all.ns = ns_;
  const auto listed = client_->list(kConfigMaps, all);
  ASSERT_TRUE(listed);
  std::map<std::string, std::string> truth;
  for (const Json& item : listed->items)
    truth[metadata(item, "name")] = metadata(item, "resourceVersion");
  EXPECT_TRUE(eventually([&] {
    const std::scoped_lock lock(mutex);
    return told == truth;
  }));
  EXPECT_EQ(reflector.cache().size(), truth.size());
  reflector.stop();
  for (const auto& fault : faults)
    ADD_FAILURE() << fault;
}

}  // namespace
