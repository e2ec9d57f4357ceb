// The chart's two entries for pods on a real API server whose webhook is away: what is not sent is
// created, and whatever the policy takes for an agent's pod is sent, so refused. Conditions that
// err or cost too much would refuse ordinary pods in another way, which no case here may show.
#include <random>

#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>
#include <policy/policy.h>

#include "chart/chart.h"
#include "policy/breaks.h"
#include "policy/disguises.h"
#include "policy/fixture.h"

namespace palisade::chart::testing {
namespace {

namespace resources = kube::resources;
using policy::testing::good_pod;

enum class Fate : std::uint8_t { kCreated, kSent, kSentAsAll, kInvalid, kOther };

struct Seen {
  Fate fate;
  std::string text;
};

Seen seen(const kube::Result<json>& result) {
  if (result) return {Fate::kCreated, ""};
  const std::string text = result.error().text();
  const auto says = [&](const char* part) { return text.find(part) != std::string::npos; };
  if (says("failed calling webhook \"pods.palisade.dev\"")) return {Fate::kSent, text};
  if (says("failed calling webhook \"all-pods.palisade.dev\"")) return {Fate::kSentAsAll, text};
  // Said by the API server before any webhook is asked: that it cannot decode the pod, that it is
  // invalid or too large, or what its own plugins refuse.
  const int code = result.error().code;
  const bool own = says("RuntimeClass \"") || says("priority admission controller");
  if (code == 400 || code == 413 || code == 422 || (code == 403 && own))
    return {Fate::kInvalid, text};
  return {Fate::kOther, text};
}

class Condition : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = *std::move(started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
    for (const auto& [name, enforce] : {std::pair("team-a", ""),
                                        {"guard-all", "all"},
                                        {"guard-typo", "al"},
                                        {"guard-off", "off"}}) {
      json made = {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}}}};
      if (*enforce != '\0') made["metadata"]["labels"] = {{"palisade.dev/enforce", enforce}};
      const auto created = client_->create(resources::kNamespaces, "", made);
      ASSERT_TRUE(created) << created.error().text();
    }
    // From before the guard.
    json marked = plain();
    marked["metadata"]["labels"] = {{"palisade.dev/agent", "aider"}};
    put("team-a", "marked", marked);
    json ordinary = plain();
    ordinary["spec"]["containers"][0]["resources"] = {
        {"limits", {{"cpu", "2"}, {"memory", "64Mi"}}},
        {"requests", {{"cpu", "1"}, {"memory", "32Mi"}}}};
    put("team-a", "ordinary", ordinary);
    put("team-a", "large", full());
    put("guard-all", "large", full());
    json configuration = named(objects(), "ValidatingWebhookConfiguration", "palisade-webhook");
    std::erase_if(configuration["webhooks"].get_ref<json::array_t&>(), [](const json& entry) {
      return entry["name"] != "pods.palisade.dev" && entry["name"] != "all-pods.palisade.dev";
    });
    ASSERT_EQ(configuration["webhooks"].size(), 2U);
    for (json& entry : configuration["webhooks"])
      entry["clientConfig"] = {{"url", "https://127.0.0.1:1/validate"}};  // nobody listens
    const auto made =
        client_->create(resources::kValidatingWebhookConfigurations, "", configuration);
    ASSERT_TRUE(made) << made.error().text();
    json agent = plain();
    agent["metadata"]["labels"] = {{"palisade.dev/agent", "aider"}};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (create(agent).fate != Fate::kSent ||
           create(plain(), "guard-all").fate == Fate::kCreated) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << create(agent).text;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }

  static json plain() {
    return {{"metadata", json::object()},
            {"spec", {{"containers", {{{"name", "main"}, {"image", "nginx"}}}}}}};
  }

  // At once the most of everything that is looked through, and nothing that is sent for.
  static json full() {
    json pod = {{"metadata", {{"labels", json::object()}}}, {"spec", json::object()}};
    for (int i = 0; i < 100; ++i)
      pod["metadata"]["labels"]["l" + std::to_string(i)] = "v";
    for (int i = 0; i < 200; ++i)
      pod["spec"]["volumes"].push_back(
          {{"name", "v" + std::to_string(i)}, {"emptyDir", json::object()}});
    for (int i = 0; i < 32; ++i) {
      json container = {{"name", "c" + std::to_string(i)},
                        {"image", "registry.example.com/" + std::string(400, 'x') + ":1"}};
      for (int j = 0; j < 250; ++j) {
        // 4,096 characters with the spaces between them.
        container["args"].push_back(std::string(j < 97 ? 16 : 15, j % 2 == 0 ? 'A' : 'a'));
        if (j % 2 == 0) container["args"].back().get_ref<std::string&>().replace(1, 14, 14, '=');
        container["env"].push_back(
            {{"name", "V" + std::to_string(j)},
             {"valueFrom", {{"configMapKeyRef", {{"name", "c"}, {"key", "k"}}}}}});
        container["envFrom"].push_back({{"configMapRef", {{"name", "c"}}}});
      }
      if (i < 16) {
        pod["spec"]["initContainers"].push_back(container);
      } else {
        pod["spec"]["containers"].push_back(container);
      }
    }
    return pod;
  }

  static void put(const std::string& ns, const std::string& name, json pod) {
    pod["apiVersion"] = "v1";
    pod["kind"] = "Pod";
    pod["metadata"]["name"] = name;
    pod["metadata"]["namespace"] = ns;
    const auto made = client_->create(resources::kPods, ns, pod);
    ASSERT_TRUE(made) << name << ": " << made.error().text();
  }

  // Under a name of its own.
  static Seen create(json pod, const std::string& ns = "team-a") {
    pod["apiVersion"] = "v1";
    pod["kind"] = "Pod";
    pod["metadata"]["name"] = "pod-" + std::to_string(++made_);
    pod["metadata"]["namespace"] = ns;
    return seen(client_->create(resources::kPods, ns, pod));
  }
  static Seen patch(const std::string& name, const json& change, const char* subresource = "",
                    const std::string& ns = "team-a") {
    return seen(client_->patch(resources::kPods, ns, name, kube::PatchType::kStrategicMerge, change,
                               subresource));
  }

  static std::string reason(const json& pod) {
    simdjson::dom::parser parser;
    const simdjson::padded_string text(pod.dump());
    return policy::agent_reason(parser.parse(text));
  }

  // What the policy recognises is sent; an ordinary pod is sent or created, and nothing else.
  static void judge(const std::string& name, const json& pod) {
    const std::string why = reason(pod);
    const Seen here = create(pod);
    if (here.fate == Fate::kInvalid) {
      ++invalid_;
      return;
    }
    if (why.empty()) {
      EXPECT_TRUE(here.fate == Fate::kSent || here.fate == Fate::kCreated)
          << name << ": " << here.text.substr(0, 500) << '\n'
          << pod.dump().substr(0, 2000);
      ++(here.fate == Fate::kCreated ? left_out_ : sent_along_);
    } else {
      EXPECT_EQ(here.fate, Fate::kSent)
          << name << " (" << why << "): " << here.text.substr(0, 500) << '\n'
          << pod.dump().substr(0, 2000);
      ++recognised_;
    }
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::unique_ptr<kube::Client> client_;
  static inline int made_ = 0;
  static inline int recognised_ = 0;
  static inline int left_out_ = 0;
  static inline int sent_along_ = 0;
  static inline int invalid_ = 0;
};

// --- With the webhook away ---

TEST_F(Condition, OrdinaryPodsAreCreatedWhileTheWebhookIsAway) {
  EXPECT_EQ(create(plain()).fate, Fate::kCreated);
  json usual = plain();
  usual["metadata"]["labels"] = {{"app", "web"}, {"app.kubernetes.io/name", "web"}};
  usual["metadata"]["annotations"] = {{"palisade.dev/note", "aider"}};
  usual["metadata"]["ownerReferences"] = {
      {{"apiVersion", "apps/v1"}, {"kind", "ReplicaSet"}, {"name", "web"}, {"uid", "1"}}};
  json& container = usual["spec"]["containers"][0];
  container["args"] = {"--port=8080", "--log-level", "info", "serve"};
  container["env"] = {
      {{"name", "PORT"}, {"value", "aider"}},
      {{"name", "IP"}, {"valueFrom", {{"fieldRef", {{"fieldPath", "status.podIP"}}}}}}};
  container["livenessProbe"] = {{"httpGet", {{"path", "/"}, {"port", 8080}}}};
  usual["spec"]["volumes"] = {{{"name", "v"}, {"emptyDir", json::object()}}};
  usual["spec"]["initContainers"] = {{{"name", "i"}, {"image", "busybox"}, {"command", {"true"}}}};
  const Seen made = create(usual);
  EXPECT_EQ(made.fate, Fate::kCreated) << made.text;
  EXPECT_EQ(create(plain(), "guard-off").fate, Fate::kCreated);
}

TEST_F(Condition, WhereAllAreEnforcedEachIsSentOnce) {
  for (const char* ns : {"guard-all", "guard-typo"}) {
    EXPECT_EQ(create(plain(), ns).fate, Fate::kSentAsAll) << ns;
    json agent = plain();
    agent["spec"]["containers"][0]["image"] = "aider";
    for (int i = 0; i < 5; ++i)
      EXPECT_EQ(create(agent, ns).fate, Fate::kSent) << ns;
  }
}

TEST_F(Condition, UpdatesAreSentForWhatThePodWasAndIs) {
  const auto labels = [](const json& set) { return json{{"metadata", {{"labels", set}}}}; };
  EXPECT_EQ(patch("marked", labels({{"palisade.dev/agent", nullptr}})).fate, Fate::kSent);
  EXPECT_EQ(patch("marked", labels({{"x", "y"}})).fate, Fate::kSent);
  EXPECT_EQ(patch("ordinary", labels({{"x", "y"}})).fate, Fate::kCreated);
  EXPECT_EQ(patch("ordinary", labels({{"palisade.dev/agent", "aider"}})).fate, Fate::kSent);
  EXPECT_EQ(patch("ordinary", labels({{"palisade.dev/Workspace", "w"}})).fate, Fate::kSent);
  const json image = {{"spec", {{"containers", {{{"name", "main"}, {"image", "team/aider"}}}}}}};
  EXPECT_EQ(patch("ordinary", image).fate, Fate::kSent);
  // Subresources are sent whatever the pod is.
  const json debug = {
      {"spec", {{"ephemeralContainers", {{{"name", "debug"}, {"image", "busybox"}}}}}}};
  EXPECT_EQ(patch("ordinary", debug, "ephemeralcontainers").fate, Fate::kSent);
  const json more = {
      {"spec",
       {{"containers", {{{"name", "main"}, {"resources", {{"limits", {{"cpu", "3"}}}}}}}}}}};
  EXPECT_EQ(patch("ordinary", more, "resize").fate, Fate::kSent);
}

// --- Nothing that is too much or too odd ends otherwise ---

TEST_F(Condition, LargePodsCostNobodyMoreThanTheirBudget) {
  Seen made = create(full());
  EXPECT_EQ(made.fate, Fate::kCreated) << made.text;
  made = patch("large", {{"metadata", {{"annotations", {{"x", "y"}}}}}});
  EXPECT_EQ(made.fate, Fate::kCreated) << made.text;
  made = patch("large", {{"metadata", {{"annotations", {{"x", "y"}}}}}}, "", "guard-all");
  EXPECT_EQ(made.fate, Fate::kSentAsAll) << made.text;

  const auto expect_sent = [&](const char* name, const json& pod) {
    const Seen here = create(pod);
    EXPECT_EQ(here.fate, Fate::kSent) << name << ": " << here.text.substr(0, 500);
    const Seen all = create(pod, "guard-all");
    EXPECT_EQ(all.fate, Fate::kSent) << name << ": " << all.text.substr(0, 500);
  };
  const std::string long_text(1'300'000, 'x');
  json pod = plain();
  pod["spec"]["containers"][0]["args"] = {long_text};
  expect_sent("a long word", pod);
  pod = plain();
  for (int i = 0; i < 30'000; ++i)
    pod["spec"]["containers"][0]["args"].push_back("--option");
  expect_sent("many words", pod);
  pod = plain();
  for (int i = 0; i < 10'000; ++i)
    pod["spec"]["containers"][0]["env"].push_back({{"name", "V" + std::to_string(i)}});
  expect_sent("many variables", pod);
  pod = plain();
  for (int i = 0; i < 20'000; ++i)
    pod["spec"]["containers"][0]["envFrom"].push_back({{"configMapRef", {{"name", "c"}}}});
  expect_sent("many sources of variables", pod);
  pod = plain();
  for (int i = 0; i < 20'000; ++i)
    pod["metadata"]["labels"]["l" + std::to_string(i)] = "v";
  expect_sent("many labels", pod);
  pod = plain();
  for (int i = 0; i < 5'000; ++i)
    pod["metadata"]["ownerReferences"].push_back(
        {{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"name", "o"}, {"uid", std::to_string(i)}});
  expect_sent("many owners", pod);
  pod = plain();
  for (int i = 0; i < 5'000; ++i)
    pod["spec"]["volumes"].push_back(
        {{"name", "v" + std::to_string(i)}, {"emptyDir", json::object()}});
  expect_sent("many volumes", pod);
  pod = plain();
  for (int i = 0; i < 2'000; ++i)
    pod["spec"]["containers"].push_back({{"name", "c" + std::to_string(i)}, {"image", "x"}});
  expect_sent("many containers", pod);
  for (const auto& [name, at, value] : std::initializer_list<std::array<std::string, 3>>{
           {"a long annotation", "/metadata/annotations/x", std::string(250'000, 'x')},
           {"a long value", "/spec/containers/0/env/0/value", long_text},
           {"a long name", "/spec/containers/0/env/0/name", long_text},
           {"a long prefix", "/spec/containers/0/envFrom/0/prefix", long_text},
           {"a long image", "/spec/containers/0/image", long_text},
           {"a long reference", "/spec/volumes/0/image/reference", long_text}}) {
    json large = plain();
    large["spec"]["containers"][0]["env"] = {{{"name", "X"}, {"value", "y"}}};
    if (at.find("envFrom") != std::string::npos)
      large["spec"]["containers"][0]["envFrom"] = {{{"configMapRef", {{"name", "c"}}}}};
    if (at.find("volumes") != std::string::npos) large["spec"]["volumes"] = {{{"name", "v"}}};
    large[json::json_pointer(at)] = value;
    const Seen here = create(large);
    EXPECT_EQ(here.fate, Fate::kCreated) << name << ": " << here.text.substr(0, 500);
  }
}

// What the cases above would look like.
TEST_F(Condition, OneThatErrsOrCostsTooMuchRefuses) {
  json configuration = {
      {"apiVersion", "admissionregistration.k8s.io/v1"},
      {"kind", "ValidatingWebhookConfiguration"},
      {"metadata", {{"name", "broken"}}},
      {"webhooks",
       {{{"name", "broken.example.com"},
         {"admissionReviewVersions", {"v1"}},
         {"sideEffects", "None"},
         {"failurePolicy", "Fail"},
         {"clientConfig", {{"url", "https://127.0.0.1:1/"}}},
         {"rules",
          {{{"apiGroups", {""}},
            {"apiVersions", {"v1"}},
            {"resources", {"pods"}},
            {"operations", {"CREATE"}}}}},
         {"matchConditions",
          {{{"name", "in-the-namespace"}, {"expression", "request.namespace == 'default'"}},
           {{"name", "errs"}, {"expression", "object.spec.absent == 1"}}}}}}}};
  ASSERT_TRUE(client_->create(resources::kValidatingWebhookConfigurations, "", configuration));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  Seen last = create(plain(), "default");
  while (last.fate == Fate::kCreated && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    last = create(plain(), "default");
  }
  EXPECT_EQ(last.fate, Fate::kOther) << last.text;
  EXPECT_NE(last.text.find("no such key: absent"), std::string::npos) << last.text;
  EXPECT_TRUE(client_->remove(resources::kValidatingWebhookConfigurations, "", "broken"));
}

// --- Whatever the policy recognises ---

json with(const json& fields) {
  json pod = {{"metadata", json::object()},
              {"spec", {{"containers", {{{"name", "main"}, {"image", "nginx"}}, fields}}}}};
  json& container = pod["spec"]["containers"][1];
  container["name"] = "x";
  if (!container.contains("image")) container["image"] = "nginx";
  return pod;
}

TEST_F(Condition, EveryDisguiseOfTheTables) {
  for (const char* image : policy::testing::kAiderImages) {
    judge(image, with({{"image", image}}));
    json mounted = with({{"image", "nginx"}});
    mounted["spec"]["volumes"] = {{{"name", "v"}, {"image", {{"reference", image}}}}};
    judge(image, mounted);
  }
  for (const char* image : policy::testing::kOtherImages)
    judge(image, with({{"image", image}}));
  const auto commands = [](const char* text) {
    const json list = json::parse(text);
    if (!list.is_array() || !std::ranges::all_of(list, [](const json& w) { return w.is_string(); }))
      return;
    judge(text, with({{"command", list}}));
    json first = with({{"image", "nginx"}});
    first["spec"]["initContainers"] = {{{"name", "i"}, {"image", "nginx"}, {"args", list}}};
    judge(text, first);
    const json exec = {{"exec", {{"command", list}}}};
    for (const char* probe : {"livenessProbe", "readinessProbe", "startupProbe"})
      judge(text, with({{probe, exec}}));
    for (const char* hook : {"postStart", "preStop"})
      judge(text, with({{"lifecycle", {{hook, exec}}}}));
  };
  for (const char* text : policy::testing::kAiderCommands)
    commands(text);
  for (const char* text : policy::testing::kOtherCommands)
    commands(text);
  for (const char* metadata :
       {R"({"labels": {"palisade.dev/agent": ""}})", R"({"labels": {"palisade.dev/Agent": "x"}})",
        R"({"labels": {"Palisade.dev/Agent": "w"}})",
        R"({"labels": {"palisade.dev/workspace": "w"}})",
        R"({"labels": {"palisade.dev/WORKSPACE": "w"}})",
        R"({"ownerReferences": [{"kind": "Other", "apiVersion": "v1", "name": "a", "uid": "1"},
            {"kind": "agentWorkspace", "apiVersion": "Palisade.dev/v9", "name": "a", "uid": "2"}]})"}) {
    json pod = with({{"image", "nginx"}});
    pod["metadata"] = json::parse(metadata);
    judge(metadata, pod);
  }
  for (
      const char* fields :
      {R"({"env": [{"name": "Aider_MODEL"}]})",
       R"({"envFrom": [{"prefix": "aIDER_", "configMapRef": {"name": "c"}}]})",
       R"({"env": [{"name": "M", "valueFrom": {"secretKeyRef": {"name": "c", "key": "AIDER_M"}}}]})",
       R"({"env": [{"name": "M", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "aider_m"}}}]})"})
    judge(fields, with(json::parse(fields)));
  json crowd = plain();
  for (int i = 0; i < 500; ++i)
    crowd["spec"]["containers"].push_back({{"name", "c" + std::to_string(i)}, {"image", "x"}});
  judge("a crowd", crowd);
}

TEST_F(Condition, EveryFixtureOfTheControlsWithoutItsMarks) {
  json bare = good_pod();
  bare["metadata"].erase("labels");
  bare["metadata"].erase("ownerReferences");
  // As it is, and as somebody else's.
  std::string other = bare.dump();
  for (auto at = other.find("aider"); at != std::string::npos; at = other.find("aider", at))
    other.replace(at, 5, "robot");
  for (const json& base : {bare, json::parse(other)}) {
    judge("good", base);
    for (const auto& broken : policy::testing::container_breaks()) {
      json pod = base;
      for (const auto& change : broken.changes)
        policy::testing::apply(pod, change, "/spec/containers/0");
      judge(broken.control + ": " + broken.name, pod);
    }
    for (const auto& broken : policy::testing::pod_breaks()) {
      json pod = base;
      for (const auto& change : broken.changes)
        policy::testing::apply(pod, change);
      judge(broken.control + ": " + broken.name, pod);
    }
  }
}

// Command lines put together and disguised at random, in layers.
class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  json pod() {
    json container = {{"name", "x"}, {"image", "nginx"}};
    json words = json::array();
    const auto count = pick(4);
    for (unsigned i = 0; i <= count; ++i)
      words.push_back(word(container));
    switch (pick(5)) {
      case 0:
        container["command"] = words;
        break;
      case 1:
        container["args"] = words;
        break;
      case 2:
        container["livenessProbe"] = {{"exec", {{"command", words}}}};
        break;
      case 3:
        container["lifecycle"] = {{"preStop", {{"exec", {{"command", words}}}}}};
        break;
      default:
        container["command"] = {"sh", "-c"};
        container["args"] = words;
        break;
    }
    return with(container);
  }

 private:
  unsigned pick(unsigned below) { return static_cast<unsigned>(random_()) % below; }

  std::string word(json& container) {
    static constexpr std::array kWords{
        "aider",     "aider-chat",      "/usr/bin/aider",          "-maider", "raider",
        "serve",     "nginx",           "exec aider --yes",        "aid",     "er",
        "--port=80", "x/aider/main.py", "git+https://h/Aider-AI/a"};
    std::string out = kWords.at(pick(kWords.size()));
    for (char& c : out) {
      if (pick(4) == 0) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    for (unsigned layers = pick(4); layers > 0; --layers)
      out = disguised(out, container);
    return out;
  }

  std::string disguised(std::string text, json& container) {
    switch (pick(4)) {
      case 0:
        for (unsigned i = pick(3); i > 0; --i)
          text.insert(pick(static_cast<unsigned>(text.size()) + 1), 1, "'\"\\"[pick(3)]);
        return text;
      case 1:
        return base64(std::string(pick(3), ' ') + text);
      case 2: {
        const std::string name = "V" + std::to_string(container.value("env", json::array()).size());
        const auto cut = pick(static_cast<unsigned>(text.size()) + 1);
        container["env"].push_back({{"name", name}, {"value", text.substr(cut)}});
        return text.substr(0, cut) + (pick(2) == 0 ? "$(" + name + ")" : "${" + name + "}");
      }
      default:
        return "sh -c " + text + " | cat";
    }
  }

  std::string base64(const std::string& text) {
    static constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    for (std::size_t at = 0; at < text.size(); at += 3) {
      unsigned bits = 0;
      for (std::size_t i = 0; i < 3; ++i)
        bits = bits << 8U | (at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U);
      const std::size_t digits = std::min<std::size_t>(text.size() - at, 3) + 1;
      for (std::size_t i = 0; i < 4; ++i)
        out += i < digits ? kDigits[bits >> (18U - 6U * i) & 63U] : '=';
      if (pick(6) == 0) out += '\n';
    }
    return out;
  }

  std::mt19937 random_;
};

TEST_F(Condition, WhateverIsRecognisedAtRandom) {
  Mutator mutator(20'250'101);
  const int before = recognised_;
  for (int i = 0; i < 400; ++i)
    judge("random " + std::to_string(i), mutator.pod());
  EXPECT_GT(recognised_ - before, 100);
}

// After all others: the tables met every outcome.
TEST_F(Condition, ZEveryOutcomeWasSeen) {
  EXPECT_GT(recognised_, 400);
  EXPECT_GT(left_out_, 100);
  EXPECT_GT(sent_along_, 10);
  EXPECT_LT(invalid_, 300);
  if (std::getenv("PALISADE_TEST_VERBOSE") != nullptr)
    std::cout << recognised_ << " recognised, " << left_out_ << " left out, " << sent_along_
              << " sent along, " << invalid_ << " invalid\n";
}

}  // namespace
}  // namespace palisade::chart::testing
