// The scanner against a real API server: pods that were there before anybody judged them, and the
// reports that tell of them.
#include <mutex>
#include <set>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <kube/envtest.h>
#include <kube/leader.h>
#include <webhook/scanner.h>

#include "definitions.h"
#include "policy/fixture.h"
#include "webhook/fake_view.h"

namespace palisade::webhook {
namespace {

using namespace std::chrono_literals;
using kube::Json;
using kube::resources::kPods;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;
using Clock = std::chrono::steady_clock;
using Lines = std::set<std::string>;

const kube::Resource kPolicyReports{"wgpolicyk8s.io", "v1alpha2", "policyreports", "PolicyReport",
                                    true};
const kube::Resource kReports{"openreports.io", "v1alpha1", "reports", "Report", true};

bool eventually(const std::function<bool()>& what) {
  for (const auto deadline = Clock::now() + 40s; Clock::now() < deadline;
       std::this_thread::sleep_for(20ms)) {
    if (what()) return true;
  }
  return what();
}

std::filesystem::path data(const std::string& name) {
  const char* root = std::getenv("PALISADE_SOURCE_DIR");
  return std::filesystem::path(root != nullptr ? root : ".") / "tests/webhook/data" / name;
}

// How namespaces are guarded and who leads, as the rest of the webhook would say it.
class World {
 public:
  void guard(const std::string& ns, const NamespaceRules& rules) {
    const std::scoped_lock lock(mutex_);
    rules_[ns] = std::make_shared<const NamespaceRules>(rules);
  }
  void close_network(const std::string& ns, bool closed) {
    const std::scoped_lock lock(mutex_);
    if (closed) {
      open_.erase(ns);
    } else {
      open_.insert(ns);
    }
  }
  ScannerContext context(const std::function<std::optional<std::stop_token>()>& term) {
    ScannerContext out;
    out.rules = [this](std::string_view ns) -> Lookup<std::shared_ptr<const NamespaceRules>> {
      const std::scoped_lock lock(mutex_);
      const auto found = rules_.find(std::string(ns));
      if (found == rules_.end()) return std::unexpected("not known");
      return found->second;
    };
    out.network_policies = [this](std::string_view ns)
        -> Lookup<std::vector<std::shared_ptr<const policy::NetworkPolicy>>> {
      const std::scoped_lock lock(mutex_);
      if (open_.contains(std::string(ns))) return {};
      return std::vector{testing::network_policy(testing::deny_all(std::string(ns)))};
    };
    out.term = term;
    return out;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const NamespaceRules>> rules_;
  std::set<std::string> open_;
};

// A leadership that a test gives and takes.
class Leadership {
 public:
  void take() {
    const std::scoped_lock lock(mutex_);
    term_.emplace();
  }
  void lose() {
    const std::scoped_lock lock(mutex_);
    if (term_) term_->request_stop();
    term_.reset();
  }
  std::optional<std::stop_token> term() {
    const std::scoped_lock lock(mutex_);
    if (!term_) return std::nullopt;
    return term_->get_token();
  }

 private:
  std::mutex mutex_;
  std::optional<std::stop_source> term_;
};

struct Replica {
  prometheus::Registry registry;
  Leadership leadership;
  std::unique_ptr<Scanner> scanner;

  [[nodiscard]] std::string metrics() const {
    return prometheus::TextSerializer().Serialize(registry.Collect());
  }
};

class ScannerIntegration : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
  }
  static void TearDownTestSuite() { env_.reset(); }
  void SetUp() override {
    ASSERT_TRUE(env_);
    client_ = kube::Client::connect(env_->config());
    ns_ = make_namespace();
  }
  void TearDown() override {
    for (auto& replica : replicas_)
      replica->scanner->stop();
    // The next test's replicas see all pods.
    for (const std::string& ns : namespaces_) {
      const auto pods = list(kPods, ns);
      for (const Json& pod : pods)
        remove_pod(ns, pod["metadata"]["name"]);
    }
  }

  std::string make_namespace(const NamespaceRules& rules = {}) {
    std::string ns = "scan-" + std::to_string(++count_);
    EXPECT_TRUE(client_->create(
        kube::resources::kNamespaces, "",
        {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", ns}}}}));
    world_.guard(ns, rules);
    namespaces_.push_back(ns);
    return ns;
  }
  static void install(const char* crd) {
    const auto done = env_->install_crd(data(crd));
    ASSERT_TRUE(done) << done.error().text();
  }

  Replica& start(bool leads = true) {
    auto& replica = *replicas_.emplace_back(std::make_unique<Replica>());
    if (leads) replica.leadership.take();
    ScannerOptions options;
    options.debounce = 50ms;
    options.recheck = 300ms;
    options.discovery = 500ms;
    replica.scanner = std::make_unique<Scanner>(
        client_, world_.context([&replica] { return replica.leadership.term(); }), replica.registry,
        options);
    replica.scanner->start();
    return replica;
  }

  Json pod(const std::string& ns, const std::string& name, bool good = true) {
    Json out = policy::testing::good_pod();
    out["metadata"]["namespace"] = ns;
    out["metadata"]["name"] = name;
    if (!good) {
      out["spec"]["hostUsers"] = nullptr;
      out["spec"]["hostPID"] = true;
      out["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false;
    }
    return out;
  }
  void create(const Json& pod) {
    const auto made = client_->create(kPods, pod["metadata"]["namespace"].get<std::string>(), pod);
    ASSERT_TRUE(made) << made.error().text();
  }
  void remove_pod(const std::string& ns, const std::string& name) {
    kube::DeleteOptions now;
    now.grace_period_seconds = 0;
    const auto removed = client_->remove(kPods, ns, name, now);
    EXPECT_TRUE(removed) << removed.error().text();
  }
  std::vector<Json> list(const kube::Resource& resource, const std::string& ns) {
    kube::ListOptions query;
    query.ns = ns;
    auto listed = client_->list(resource, query);
    if (!listed) return {};
    return std::move(listed->items);
  }
  // "POD RULE RESULT" of the namespace's only report; {"none"} where there is none.
  Lines told(const std::string& ns, const kube::Resource& api = kPolicyReports) {
    const auto reports = list(api, ns);
    if (reports.empty()) return {"none"};
    EXPECT_EQ(reports.size(), 1U);
    Lines out;
    const Json results = reports.front().value("results", Json::array());
    for (const Json& result : results) {
      out.insert(result["resources"][0]["name"].get<std::string>() + " " +
                 result.value("rule", "-") + " " + result["result"].get<std::string>());
    }
    return out;
  }
  std::string version(const std::string& ns) {
    const auto reports = list(kPolicyReports, ns);
    return reports.empty() ? "" : reports.front()["metadata"]["resourceVersion"].get<std::string>();
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline int count_ = 0;
  std::shared_ptr<kube::Client> client_;
  World world_;
  std::string ns_;
  std::vector<std::string> namespaces_;
  std::vector<std::unique_ptr<Replica>> replicas_;  // last: they use the rest
};

const Lines kBad{"bad user-namespace fail", "bad no-host-namespaces fail",
                 "bad read-only-root-filesystem fail"};

// First of all tests: no report API is there yet.
TEST_F(ScannerIntegration, ReportsGoWhereAnApiIsServedAndMetricsAlways) {
  create(pod(ns_, "bad", false));
  Replica& one = start();
  EXPECT_TRUE(eventually([&] {
    return one.metrics().find("palisade_scan_pods{verdict=\"fail\"} 1") != std::string::npos;
  })) << one.metrics();
  EXPECT_THAT(one.metrics(), HasSubstr("palisade_scan_findings{control=\"user-namespace\"} 1"));
  EXPECT_THAT(one.metrics(), HasSubstr("palisade_scan_findings{control=\"host-ports\"} 0"));

  install("policyreports.yaml");
  EXPECT_TRUE(eventually([&] { return told(ns_) == kBad; }));
  const Json report = list(kPolicyReports, ns_).front();
  EXPECT_EQ(report["metadata"]["name"], "palisade");
  EXPECT_EQ(report["metadata"]["labels"]["app.kubernetes.io/managed-by"], "palisade-webhook");
  EXPECT_EQ(report["summary"],
            (Json{{"fail", 3}, {"pass", 0}, {"warn", 0}, {"skip", 0}, {"error", 0}}));

  const auto installed = install_foreign_definition(*env_, "reports.openreports.io");
  ASSERT_TRUE(installed) << installed.error().text();
  EXPECT_TRUE(eventually([&] { return told(ns_, kReports) == kBad; }));
  EXPECT_TRUE(eventually([&] { return told(ns_) == Lines{"none"}; }));
  EXPECT_EQ(list(kReports, ns_).front()["source"], "palisade");

  // Back to the other one, when the newer API is taken away.
  ASSERT_TRUE(
      client_->remove(kube::resources::kCustomResourceDefinitions, "", "reports.openreports.io"));
  EXPECT_TRUE(eventually([&] { return told(ns_) == kBad; }));
}

TEST_F(ScannerIntegration, PodsFromBeforeAreReportedAndFixedOnesDisappear) {
  create(pod(ns_, "bad", false));
  create(pod(ns_, "good"));
  Json other = pod(ns_, "other", false);
  other["metadata"].erase("labels");
  other["metadata"].erase("ownerReferences");
  other["spec"]["containers"] = {{{"name", "c"}, {"image", "nginx:1"}}};
  other["spec"].erase("initContainers");
  other["spec"].erase("volumes");
  create(other);
  start();
  Lines expected = kBad;
  expected.insert("good - pass");
  EXPECT_TRUE(eventually([&] { return told(ns_) == expected; }));

  // What appears later too; a pod that has ended no longer counts.
  create(pod(ns_, "late"));
  expected.insert("late - pass");
  EXPECT_TRUE(eventually([&] { return told(ns_) == expected; }));
  ASSERT_TRUE(client_->patch(kPods, ns_, "late", kube::PatchType::kMerge,
                             {{"status", {{"phase", "Succeeded"}}}}, "status"));
  expected.erase("late - pass");
  EXPECT_TRUE(eventually([&] { return told(ns_) == expected; }));

  remove_pod(ns_, "bad");
  EXPECT_TRUE(eventually([&] { return told(ns_) == Lines{"good - pass"}; }));
  remove_pod(ns_, "good");
  EXPECT_TRUE(eventually([&] { return told(ns_) == Lines{"none"}; }));
  EXPECT_EQ(list(kPods, ns_).size(), 2U);  // nobody was evicted
}

TEST_F(ScannerIntegration, OtherRulesAreJudgedByAgain) {
  create(pod(ns_, "bad", false));
  Json plain = pod(ns_, "plain");
  plain["metadata"].erase("labels");
  plain["metadata"].erase("ownerReferences");
  plain["spec"]["containers"] = {{{"name", "c"}, {"image", "nginx:1"}}};
  plain["spec"].erase("initContainers");
  plain["spec"].erase("volumes");
  create(plain);
  Scanner& scanner = *start().scanner;
  EXPECT_TRUE(eventually([&] { return told(ns_) == kBad; }));
  const auto guard = [&](const NamespaceRules& rules) {
    world_.guard(ns_, rules);
    scanner.rules_changed(ns_);
  };

  NamespaceRules rules;
  rules.settings.require_user_namespace = false;
  guard(rules);
  Lines without = kBad;
  without.erase("bad user-namespace fail");
  EXPECT_TRUE(eventually([&] { return told(ns_) == without; }));

  rules.actions["no-host-namespaces"] = Action::kWarn;
  auto exception = std::make_shared<policy::HardeningException>();
  exception->name = "for-a-week";
  exception->namespaces = {ns_};
  exception->controls = {"read-only-root-filesystem"};
  exception->expires = std::time(nullptr) + 5;
  rules.exceptions = {exception};
  guard(rules);
  EXPECT_TRUE(eventually([&] {
    return told(ns_) == Lines{"bad no-host-namespaces warn", "bad read-only-root-filesystem skip"};
  }));
  // It ends by itself, with no event.
  EXPECT_TRUE(eventually([&] {
    return told(ns_) == Lines{"bad no-host-namespaces warn", "bad read-only-root-filesystem fail"};
  }));

  world_.close_network(ns_, false);  // nor has this one
  EXPECT_TRUE(eventually([&] { return told(ns_).contains("bad deny-all-network fail"); }));
  world_.close_network(ns_, true);
  EXPECT_TRUE(eventually([&] { return !told(ns_).contains("bad deny-all-network fail"); }));

  rules.problem = "AgentPolicy strict cannot be read: spec.maxLifetime";
  guard(rules);
  EXPECT_TRUE(eventually([&] { return told(ns_).contains("bad - error"); }));

  rules = {};
  rules.mode = Mode::kAll;
  guard(rules);
  EXPECT_TRUE(eventually([&] { return told(ns_).contains("plain drop-all-capabilities fail"); }));
  rules.mode = Mode::kOff;
  guard(rules);
  EXPECT_TRUE(eventually([&] { return told(ns_) == Lines{"none"}; }));
}

TEST_F(ScannerIntegration, AnotherLeaderTakesOverWithoutAWrite) {
  create(pod(ns_, "bad", false));
  const std::string gone = make_namespace();
  create(pod(gone, "good"));
  Replica& one = start();
  Replica& two = start(false);
  EXPECT_TRUE(eventually([&] { return told(ns_) == kBad && told(gone) == Lines{"good - pass"}; }));
  EXPECT_TRUE(eventually([&] {
    return one.metrics().find("palisade_scan_pods{verdict=\"pass\"} 1") != std::string::npos;
  }));
  EXPECT_THAT(two.metrics(), HasSubstr("palisade_scan_pods{verdict=\"fail\"} 0"));
  const std::string before = version(ns_);

  one.leadership.lose();
  // While nobody leads the last agent pod of a namespace goes.
  remove_pod(gone, "good");
  EXPECT_TRUE(eventually([&] {
    return one.metrics().find("palisade_scan_pods{verdict=\"fail\"} 0") != std::string::npos;
  }));
  EXPECT_EQ(told(gone), Lines{"good - pass"});
  two.leadership.take();
  EXPECT_TRUE(eventually([&] { return told(gone) == Lines{"none"}; }));
  EXPECT_TRUE(eventually([&] {
    return two.metrics().find("palisade_scan_pods{verdict=\"fail\"} 1") != std::string::npos;
  }));
  EXPECT_EQ(told(ns_), kBad);
  EXPECT_EQ(version(ns_), before);  // nothing differed, so nothing was written

  // Two that think they lead agree in the end, on one report.
  one.leadership.take();
  create(pod(ns_, "good"));
  Lines both = kBad;
  both.insert("good - pass");
  EXPECT_TRUE(eventually([&] { return told(ns_) == both; }));
}

TEST_F(ScannerIntegration, TheRealElectionDecidesWhoWrites) {
  create(pod(ns_, "bad", false));
  std::vector<std::unique_ptr<kube::LeaderElector>> electors;
  for (const char* name : {"a", "b"}) {
    electors.push_back(std::make_unique<kube::LeaderElector>(
        client_, kube::LeaderOptions{"default", "palisade-webhook", name, 600s, 500s, 100ms}));
    auto& replica = *replicas_.emplace_back(std::make_unique<Replica>());
    ScannerOptions options;
    options.debounce = 50ms;
    replica.scanner = std::make_unique<Scanner>(
        client_, world_.context([elector = electors.back().get()] { return elector->term(); }),
        replica.registry, options);
    electors.back()->start();
    replica.scanner->start();
  }
  EXPECT_TRUE(eventually([&] { return told(ns_) == kBad; }));
  const std::size_t first = electors[0]->is_leader() ? 0 : 1;
  electors[first]->stop();
  create(pod(ns_, "good"));
  Lines both = kBad;
  both.insert("good - pass");
  EXPECT_TRUE(eventually([&] { return told(ns_) == both; }));
  for (auto& replica : replicas_)
    replica->scanner->stop();  // before what it asks goes
}

TEST_F(ScannerIntegration, WhoTampersWithAReportIsPutRight) {
  const Json forged{{"apiVersion", "wgpolicyk8s.io/v1alpha2"},
                    {"kind", "PolicyReport"},
                    {"metadata", {{"name", "palisade"}}},
                    {"summary", {{"pass", 7}}}};
  ASSERT_TRUE(client_->create(kPolicyReports, ns_, forged));
  create(pod(ns_, "bad", false));
  start();
  EXPECT_TRUE(eventually([&] { return told(ns_) == kBad; }));
  ASSERT_TRUE(client_->patch(kPolicyReports, ns_, "palisade", kube::PatchType::kMerge,
                             {{"results", nullptr}}));
  EXPECT_TRUE(eventually([&] {
    const auto reports = list(kPolicyReports, ns_);
    return reports.size() == 1 && reports.front().contains("results") && told(ns_) == kBad;
  }));
  ASSERT_TRUE(client_->patch(
      kPolicyReports, ns_, "palisade", kube::PatchType::kMerge,
      {{"metadata", {{"labels", {{"app.kubernetes.io/managed-by", nullptr}}}}}, {"results", {}}}));
  EXPECT_TRUE(eventually([&] { return told(ns_) == kBad; }));
  ASSERT_TRUE(client_->remove(kPolicyReports, ns_, "palisade"));
  EXPECT_TRUE(eventually([&] { return told(ns_) == kBad; }));
}

TEST_F(ScannerIntegration, AgentPodsAreWhatLivesNow) {
  create(pod(ns_, "agent"));
  Json plain = pod(ns_, "plain");
  plain["metadata"]["labels"] = {{"app", "web"}};
  plain["metadata"].erase("ownerReferences");
  plain["spec"]["containers"] = {{{"name", "c"}, {"image", "nginx:1"}}};
  plain["spec"].erase("initContainers");
  plain["spec"].erase("volumes");
  create(plain);
  auto& replica = *replicas_.emplace_back(std::make_unique<Replica>());
  replica.scanner = std::make_unique<Scanner>(client_, world_.context([] { return std::nullopt; }),
                                              replica.registry);
  Scanner& scanner = *replica.scanner;
  EXPECT_FALSE(scanner.agent_pods(ns_));
  EXPECT_THAT(scanner.not_synced(), HasSubstr("pods"));
  scanner.start();
  ASSERT_TRUE(eventually([&] { return scanner.not_synced().empty(); }));
  const auto names = [&](const std::string& ns) {
    Lines out;
    const auto pods = scanner.agent_pods(ns);
    EXPECT_TRUE(pods);
    if (pods) {
      for (const AgentPod& one : *pods)
        out.insert(one.name);
    }
    return out;
  };
  EXPECT_EQ(names(ns_), Lines{"agent"});
  const auto pods = scanner.agent_pods(ns_);
  ASSERT_TRUE(pods);
  const AgentPod& agent = pods->front();
  EXPECT_EQ(agent.ns, ns_);
  EXPECT_EQ(agent.workspace, "fix-login");
  EXPECT_EQ(agent.workspace_uid, "6c1f2f0e-6f0c-4a0e-9a53-0b5f2f5a8c11");
  EXPECT_EQ(agent.labels.at("palisade.dev/workspace"), "fix-login");
  EXPECT_FALSE(agent.uid.empty());
  EXPECT_FALSE(agent.reason.empty());
  EXPECT_EQ(names("nowhere"), Lines{});

  // Where all are guarded, and where nobody knows yet, all pods count.
  NamespaceRules all;
  all.mode = Mode::kAll;
  world_.guard(ns_, all);
  EXPECT_EQ(names(ns_), (Lines{"agent", "plain"}));
  world_.guard(ns_, {});

  // The label is all that some have.
  ASSERT_TRUE(client_->patch(kPods, ns_, "plain", kube::PatchType::kMerge,
                             {{"metadata", {{"labels", {{"palisade.dev/agent", "aider"}}}}}}));
  EXPECT_TRUE(eventually([&] { return names(ns_).contains("plain"); }));
  ASSERT_TRUE(client_->patch(kPods, ns_, "plain", kube::PatchType::kMerge,
                             {{"status", {{"phase", "Failed"}}}}, "status"));
  EXPECT_TRUE(eventually([&] { return names(ns_) == Lines{"agent"}; }));
  remove_pod(ns_, "agent");
  EXPECT_TRUE(eventually([&] { return names(ns_).empty(); }));
}

TEST_F(ScannerIntegration, StopsWhileItWorks) {
  for (int i = 0; i < 20; ++i)
    create(pod(ns_, "bad-" + std::to_string(i), false));
  Replica& one = start();
  EXPECT_TRUE(eventually([&] { return told(ns_).size() > 1; }));
  one.scanner->rules_changed("");
  one.scanner->stop();
  one.scanner->stop();
  one.scanner->rules_changed(ns_);
}

}  // namespace
}  // namespace palisade::webhook
