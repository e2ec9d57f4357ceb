// Who is judged, by which rules, and what an update may change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <policy/templates.h>

#include "webhook/reviews.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

// --- Who is an Aider pod ---

// No label and no owner; each mark by itself puts it back under guard.
json anonymous_pod() {
  json pod = good_pod();
  pod["metadata"].erase("labels");
  pod["metadata"].erase("ownerReferences");
  pod["spec"]["containers"][0]["image"] = "registry.example.com/tools:1";
  pod["spec"]["containers"][0]["command"] = {"sleep"};
  pod["spec"]["containers"][0]["args"] = {"1d"};
  return pod;
}

TEST(Verdict, AnAiderPodCannotHide) {
  json weak = anonymous_pod();
  weak["spec"]["hostPID"] = true;
  expect_allowed(ask(envelope(weak)), "not an Aider pod");

  const std::string container = "/spec/containers/0";
  const std::vector<Change> marks{
      {"/metadata/labels", R"({"palisade.dev/agent": "something-else"})"},
      {"/metadata/labels", R"({"palisade.dev/agent": ""})"},
      {"/metadata/labels", R"({"palisade.dev/workspace": "x"})"},
      {"/metadata/ownerReferences",
       R"([{"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace", "name": "x"}])"},
      {container + "/image", R"("docker.io/paulgauthier/Aider-full:latest")"},
      {container + "/image", R"("registry.example.com:5000/x/aider@sha256:00")"},
      {container + "/command", R"(["/usr/local/bin/aider"])"},
      {container + "/command", R"(["python3", "-m", "aider"])"},
      {container + "/command", R"(["python3", "-Imaider.main"])"},
      {container + "/args", R"(["-c", "cd /src && exec aider --yes-always"])"},
      {container + "/env", R"([{"name": "AIDER_MODEL", "value": "x"}])"},
      {container + "/envFrom", R"([{"prefix": "AIDER_", "secretRef": {"name": "s"}}])"},
      {container + "/livenessProbe", R"({"exec": {"command": ["aider", "--version"]}})"},
      {container + "/lifecycle", R"({"postStart": {"exec": {"command": ["sh", "-c", "aider"]}}})"},
      {"/spec/initContainers/1/command", R"(["aider"])"},
      {"/spec/initContainers/0/image", R"("aider/aider")"},
      {"/spec/ephemeralContainers", R"([{"name": "e", "image": "x", "command": ["aider"]}])"},
  };
  for (const Change& mark : marks) {
    const Outcome outcome = ask(envelope(changed(weak, mark)));
    EXPECT_FALSE(outcome.allowed) << mark.pointer << " " << mark.text;
    EXPECT_TRUE(outcome.is_agent) << mark.pointer << " " << mark.text;
    EXPECT_THAT(outcome.denied_controls, ::testing::Contains("no-host-namespaces"))
        << mark.pointer << " " << mark.text;
  }
}

TEST(Verdict, TakingTheMarksOffAnAiderPodDoesNotTakeItOut) {
  json weak = anonymous_pod();
  weak["spec"]["hostPID"] = true;
  const Outcome outcome = ask(envelope(weak, "UPDATE", good_pod()));
  EXPECT_FALSE(outcome.allowed);
  EXPECT_TRUE(outcome.is_agent);
  EXPECT_THAT(outcome.denied_controls, UnorderedElementsAre("no-host-namespaces"));
  // Nothing but the marks: the pod is as strong as before.
  expect_allowed(ask(envelope(anonymous_pod(), "UPDATE", good_pod())), "compliant");
}

TEST(Verdict, APodThatBecomesAnAiderPodIsJudgedWhole) {
  json labelled = nginx_pod();
  labelled["metadata"]["labels"]["palisade.dev/agent"] = "aider";
  const Outcome outcome = ask(envelope(labelled, "UPDATE", nginx_pod()));
  EXPECT_FALSE(outcome.allowed);
  EXPECT_GT(outcome.denied_controls.size(), 3U);
}

// --- Updates and subresources ---

TEST(Verdict, AnUpdateMustNotWeaken) {
  expect_allowed(ask(envelope(good_pod(), "UPDATE", good_pod())), "compliant");
  for (const Weakened& weak : weakened_pods()) {
    const json pod = changed(good_pod(), weak.change);
    EXPECT_FALSE(ask(envelope(pod, "UPDATE", good_pod())).allowed) << weak.name;
    // The other way it mends.
    expect_allowed(ask(envelope(good_pod(), "UPDATE", pod)), "compliant");
  }
}

// --- What makes pods ---

// An object of that kind around a pod's metadata and spec.
json object_around(const json& pod, const policy::PodTemplate& kind) {
  json object = {{"metadata", pod["metadata"]}, {"spec", pod["spec"]}};
  if (!kind.path[0].empty()) {  // nobody but the operator makes a workspace's pods
    object["metadata"].erase("ownerReferences");
    if (object["metadata"].contains("labels"))
      object["metadata"]["labels"].erase("palisade.dev/workspace");
  }
  for (auto member = kind.path.rbegin(); member != kind.path.rend(); ++member) {
    if (!member->empty()) object = json{{std::string(*member), object}};
  }
  object["kind"] = kind.kind;
  object["metadata"]["name"] = "n";
  return object;
}

json envelope_of(const policy::PodTemplate& kind, const json& object, const std::string& operation,
                 const json& old = nullptr) {
  json review = envelope(object, operation, old);
  review["request"]["resource"] = {
      {"group", kind.group}, {"version", "v1"}, {"resource", kind.resource}};
  return review;
}

TEST(Verdict, WhateverMakesSuchPodsIsRefusedWithThePathInItsTemplate) {
  for (const policy::PodTemplate& kind : policy::pod_templates()) {
    SCOPED_TRACE(kind.kind);
    const json good = object_around(good_pod(), kind);
    expect_allowed(ask(envelope_of(kind, good, "CREATE")), "compliant");
    expect_allowed(ask(envelope_of(kind, object_around(nginx_pod(), kind), "CREATE")),
                   "not an Aider pod");
    EXPECT_FALSE(
        ask(envelope_of(kind, object_around(nginx_pod(), kind), "CREATE"), Mode::kAll).allowed);
    for (const Weakened& weak : weakened_pods()) {
      SCOPED_TRACE(weak.name);
      const json bad = object_around(changed(good_pod(), weak.change), kind);
      const Outcome outcome = ask(envelope_of(kind, bad, "CREATE"));
      EXPECT_FALSE(outcome.allowed);
      EXPECT_THAT(outcome.denied_controls, UnorderedElementsAre(weak.control));
      EXPECT_THAT(message_of(outcome), HasSubstr(kind.prefix() + std::string(weak.field)));
      EXPECT_FALSE(ask(envelope_of(kind, bad, "UPDATE", good)).allowed);
      expect_allowed(ask(envelope_of(kind, bad, "UPDATE", bad)), "nothing is weakened further");
      expect_allowed(ask(envelope_of(kind, good, "UPDATE", bad)), "compliant");
    }
  }
}

TEST(Verdict, AWorkloadThatHoldsNoTemplateIsDenied) {
  for (const policy::PodTemplate& kind : policy::pod_templates()) {
    if (kind.path[0].empty()) continue;
    SCOPED_TRACE(kind.kind);
    const json good = object_around(good_pod(), kind);
    for (const char* text : {R"({})", R"({"spec": null})", R"({"spec": []})", R"({"spec": {}})"}) {
      const json empty = json::parse(text);
      EXPECT_THAT(message_of(ask(envelope_of(kind, empty, "CREATE"))), HasSubstr("has no "));
      EXPECT_THAT(message_of(ask(envelope_of(kind, good, "UPDATE", empty))), HasSubstr("the old "));
    }
    json scaled = envelope_of(kind, good, "UPDATE", good);
    scaled["request"]["subResource"] = "scale";
    EXPECT_THAT(message_of(ask(scaled)), HasSubstr(std::string(kind.resource) + "/scale"));
  }
}

TEST(Verdict, APodWithMoreFindingsThanAreListedCanHideNothingBehindThem) {
  json old_pod = good_pod();
  const json weak = {{"name", "x"}, {"image", "x"}};
  for (int i = 0; i < 400; ++i)
    old_pod["spec"]["containers"].push_back(weak);
  json worse = old_pod;
  worse["spec"]["containers"].back()["securityContext"] = {{"privileged", true}};
  EXPECT_FALSE(ask(envelope(worse, "UPDATE", old_pod)).allowed);
}

TEST(Verdict, ADenialSaysForTheLogWhoWantedWhat) {
  const json weak = changed(good_pod(), weakened_pods()[0].change);
  EXPECT_EQ(ask(envelope(weak)).subject,
            "CREATE pods team-a/fix-login-agent by "
            "system:serviceaccount:palisade-system:palisade-operator");
  json unnamed = envelope(weak);
  unnamed["request"].erase("name");
  unnamed["request"]["object"]["metadata"]["generateName"] = "fix-";
  unnamed["request"]["object"]["metadata"].erase("name");
  EXPECT_EQ(ask(unnamed).subject,
            "CREATE pods team-a/fix-* by system:serviceaccount:palisade-system:palisade-operator");
  EXPECT_EQ(ask(envelope(good_pod())).subject, "");
}

TEST(Verdict, APodFromBeforeTheGuardCanBeFinishedButNotWeakenedFurther) {
  const json old_pod = changed(good_pod(), weakened_pods()[0].change);
  json ending = old_pod;
  ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  const Outcome outcome = ask(envelope(ending, "UPDATE", old_pod));
  expect_allowed(outcome, "nothing is weakened further");
  EXPECT_THAT(response_of(outcome)["warnings"].at(0).get<std::string>(),
              HasSubstr("1 hardening problem"));
  for (std::size_t i = 1; i < weakened_pods().size(); ++i) {
    const Outcome worse =
        ask(envelope(changed(old_pod, weakened_pods()[i].change), "UPDATE", old_pod));
    EXPECT_FALSE(worse.allowed) << weakened_pods()[i].name;
    // What it adds, not what stood before.
    EXPECT_THAT(worse.denied_controls, UnorderedElementsAre(weakened_pods()[i].control));
  }
}

TEST(Verdict, AnotherValueOfWhatWasWrongIsAWeakeningToo) {
  const json before = changed(good_pod(), {"/spec/securityContext/runAsUser", "0"});
  const json after = changed(good_pod(), {"/spec/securityContext/runAsUser", "-1"});
  EXPECT_FALSE(ask(envelope(after, "UPDATE", before)).allowed);
}

json ephemeral(const json& security) {
  return {{"name", "debug"},
          {"image", "registry.example.com/tools:1"},
          {"command", {"sh"}},
          {"securityContext", security}};
}

TEST(Verdict, EphemeralContainersAreJudged) {
  const json strong = good_pod()["spec"]["containers"][0]["securityContext"];
  json weak = strong;
  weak["privileged"] = true;
  const auto with = [](json pod, const json& container) {
    pod["spec"]["ephemeralContainers"].push_back(container);
    return pod;
  };
  const auto ask_ephemeral = [](const json& pod, const json& before) {
    return ask(envelope(pod, "UPDATE", before, "ephemeralcontainers"));
  };
  expect_allowed(ask_ephemeral(with(good_pod(), ephemeral(strong)), good_pod()), "compliant");
  EXPECT_THAT(ask_ephemeral(with(good_pod(), ephemeral(weak)), good_pod()).denied_controls,
              UnorderedElementsAre("not-privileged"));
  // As kubectl debug makes it.
  EXPECT_FALSE(ask_ephemeral(with(good_pod(), ephemeral(nullptr)), good_pod()).allowed);
  // Into another pod: free, unless it runs Aider.
  expect_allowed(ask_ephemeral(with(nginx_pod(), ephemeral(weak)), nginx_pod()),
                 "not an Aider pod");
  json aider = ephemeral(weak);
  aider["command"] = {"aider"};
  EXPECT_FALSE(ask_ephemeral(with(nginx_pod(), aider), nginx_pod()).allowed);
  // Beside a weak one from before, another.
  const json before = with(good_pod(), ephemeral(weak));
  expect_allowed(ask_ephemeral(before, before), "nothing is weakened further");
  EXPECT_FALSE(ask_ephemeral(with(before, ephemeral(weak)), before).allowed);
}

TEST(Verdict, ResizesStayWithinBounds) {
  const auto resize = [](const char* what, const json& value) {
    json pod = good_pod();
    pod["spec"]["containers"][0]["resources"]["limits"][what] = value;
    return ask(envelope(pod, "UPDATE", good_pod(), "resize"));
  };
  expect_allowed(resize("cpu", "4"), "compliant");
  expect_allowed(resize("memory", "16Gi"), "compliant");
  for (const auto& [what, value] : {std::pair<const char*, json>{"cpu", "8001m"},
                                    {"cpu", "64"},
                                    {"cpu", "0"},
                                    {"memory", "17Gi"},
                                    {"memory", "1e15"},
                                    {"memory", nullptr},
                                    {"cpu", "lots"}}) {
    EXPECT_THAT(resize(what, value).denied_controls, UnorderedElementsAre("resource-limits"))
        << what << " " << value;
  }
  json huge = nginx_pod();
  huge["spec"]["containers"][0]["resources"]["limits"] = {{"cpu", "900"}};
  expect_allowed(ask(envelope(huge, "UPDATE", nginx_pod(), "resize")), "not an Aider pod");
}

// --- Namespaces ---

TEST(Verdict, NamespaceModes) {
  const json weak_agent = changed(good_pod(), weakened_pods()[0].change);
  const struct {
    const char* name;
    Mode mode;
    json pod;
    bool allowed;
  } cases[] = {
      {"agents: good agent", Mode::kAgents, good_pod(), true},
      {"agents: weak agent", Mode::kAgents, weak_agent, false},
      {"agents: other", Mode::kAgents, nginx_pod(), true},
      {"all: good agent", Mode::kAll, good_pod(), true},
      {"all: good without marks", Mode::kAll, anonymous_pod(), true},
      {"all: weak agent", Mode::kAll, weak_agent, false},
      {"all: other", Mode::kAll, nginx_pod(), false},
      {"off: good agent", Mode::kOff, good_pod(), true},
      {"off: weak agent", Mode::kOff, weak_agent, true},
      {"off: other", Mode::kOff, nginx_pod(), true},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(ask(envelope(c.pod), c.mode).allowed, c.allowed) << c.name;
  }
  EXPECT_THAT(message_of(ask(envelope(nginx_pod()), Mode::kAll)),
              HasSubstr("the namespace enforces all pods"));
  // Also what an update weakens in a pod without marks.
  json worse = nginx_pod();
  worse["spec"]["hostIPC"] = true;
  EXPECT_FALSE(ask(envelope(worse, "UPDATE", nginx_pod()), Mode::kAll).allowed);
  expect_allowed(ask(envelope(nginx_pod(), "UPDATE", nginx_pod()), Mode::kAll),
                 "nothing is weakened further");
}

TEST(Verdict, TheModeIsThatOfTheRequestsNamespace) {
  FakeView cluster;
  cluster.by_ns["team-a"].mode = Mode::kOff;
  json body = envelope(changed(good_pod(), weakened_pods()[0].change));
  expect_allowed(ask(body, cluster), "enforce=off");
  body["request"]["namespace"] = "team-b";  // the pod says team-a
  EXPECT_FALSE(ask(body, cluster).allowed);
}

TEST(Verdict, ANamespaceThatCannotBeLookedUpDeniesEveryPod) {
  FakeView cluster;
  cluster.rules_failure = "the API server is away";
  for (const json& pod : {good_pod(), nginx_pod()}) {
    const Outcome outcome = ask(envelope(pod), cluster);
    EXPECT_FALSE(outcome.allowed);
    EXPECT_THAT(message_of(outcome), HasSubstr("how this namespace is guarded is not known"));
    EXPECT_THAT(message_of(outcome), HasSubstr("the API server is away"));
  }
}

TEST(Verdict, Modes) {
  EXPECT_EQ(policy::parse_mode("agents"), Mode::kAgents);
  EXPECT_EQ(policy::parse_mode("all"), Mode::kAll);
  EXPECT_EQ(policy::parse_mode("off"), Mode::kOff);
  for (const char* label : {"", "Off", "off ", "none", "false", "ALL"})
    EXPECT_EQ(policy::parse_mode(label), std::nullopt) << label;
}

}  // namespace
}  // namespace palisade::webhook::testing
