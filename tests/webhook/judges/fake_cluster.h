// A cluster made of maps, and reviews as the API server would send them.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <policy/network.h>

#include "judges/judge.h"

namespace palisade::webhook::testing {

using nlohmann::json;

inline constexpr const char* kOperator = "system:serviceaccount:palisade-system:palisade-operator";
inline constexpr std::int64_t kNow = 1'800'000'000;

inline policy::NetworkPolicy network_policy(const json& object) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(object.dump());
  auto out = policy::NetworkPolicy::parse(parser.parse(text));
  if (!out) throw std::runtime_error(out.error());
  return *std::move(out);
}

struct FakeState {
  Principals principals_;
  std::map<std::string, NamespaceRules, std::less<>> rules_;  // of the others: the default
  std::vector<WorkspaceFacts> workspaces_;
  std::vector<AgentPod> pods_;                // those without a reason are no agents
  std::vector<json> network_, live_network_;  // the latter where it is not empty
  std::vector<json> templates_;
  std::vector<std::string> signed_;  // images, as pods have them
  std::string broken_;               // the look-up that fails
  mutable int lookups_ = 0;
};

class FakeCluster : public ClusterView, public FakeState {
 public:
  FakeCluster() { principals_.operator_user = kOperator; }
  FakeCluster(const FakeCluster& other) : ClusterView(), FakeState(other) {}
  FakeCluster& operator=(const FakeCluster& other) {
    FakeState::operator=(other);
    return *this;
  }
  ~FakeCluster() override = default;

  FakeCluster& workspace(const std::string& name, const std::string& creator = "jane",
                         bool deleting = false, const std::string& uid = "") {
    workspaces_.push_back({"team-a", name, uid.empty() ? "uid-" + name : uid, creator, deleting});
    return *this;
  }
  // The claim that its status names.
  FakeCluster& uses_setup(const std::string& name, const std::string& claim) {
    for (WorkspaceFacts& one : workspaces_) {
      if (one.name == name) one.setup_claim = claim;
    }
    return *this;
  }
  // A workspace's pod where `owner` is its name.
  FakeCluster& pod(const std::string& name, policy::Labels labels, const std::string& owner = "",
                   const std::string& reason = "the label palisade.dev/agent is set") {
    pods_.push_back({"team-a", name, "pod-" + name, owner, owner.empty() ? "" : "uid-" + owner,
                     std::move(labels), reason});
    return *this;
  }
  FakeCluster& policy(const std::string& name, const json& spec) {
    network_.push_back({{"metadata", {{"name", name}, {"namespace", "team-a"}}}, {"spec", spec}});
    return *this;
  }

  const Principals& principals() const override { return principals_; }
  Lookup<std::shared_ptr<const NamespaceRules>> rules(std::string_view ns) const override {
    if (auto error = fail("rules")) return std::unexpected(*error);
    const auto found = rules_.find(ns);
    return std::make_shared<const NamespaceRules>(found == rules_.end() ? NamespaceRules()
                                                                        : found->second);
  }
  Lookup<std::vector<WorkspaceFacts>> workspaces(std::string_view ns) const override {
    if (auto error = fail("workspaces")) return std::unexpected(*error);
    std::vector<WorkspaceFacts> out;
    for (const WorkspaceFacts& workspace : workspaces_) {
      if (ns.empty() || workspace.ns == ns) out.push_back(workspace);
    }
    return out;
  }
  Lookup<std::optional<WorkspaceFacts>> workspace(std::string_view ns,
                                                  std::string_view name) const override {
    if (auto error = fail("workspace")) return std::unexpected(*error);
    for (const WorkspaceFacts& workspace : workspaces_) {
      if (workspace.ns == ns && workspace.name == name) return workspace;
    }
    return std::nullopt;
  }
  Lookup<std::shared_ptr<const policy::WorkspaceTemplate>> workspace_template(
      std::string_view /*ns*/, std::string_view name) const override {
    if (auto error = fail("workspace_template")) return std::unexpected(*error);
    for (const json& object : templates_) {
      if (object["metadata"]["name"] != name) continue;
      simdjson::dom::parser parser;
      const simdjson::padded_string text(object.dump());
      auto out = policy::WorkspaceTemplate::parse(parser.parse(text));
      if (!out) throw std::runtime_error(out.error());
      return std::make_shared<const policy::WorkspaceTemplate>(*std::move(out));
    }
    return nullptr;
  }
  Lookup<std::vector<AgentPod>> agent_pods(std::string_view ns) const override {
    if (auto error = fail("agent_pods")) return std::unexpected(*error);
    std::vector<AgentPod> out;
    for (const AgentPod& pod : pods_) {
      if ((ns.empty() || pod.ns == ns) && !pod.reason.empty()) out.push_back(pod);
    }
    return out;
  }
  Lookup<std::optional<AgentPod>> pod(std::string_view ns, std::string_view name) const override {
    if (auto error = fail("pod")) return std::unexpected(*error);
    for (const AgentPod& pod : pods_) {
      if (pod.ns == ns && pod.name == name) return pod;
    }
    return std::nullopt;
  }
  Lookup<std::vector<std::shared_ptr<const policy::NetworkPolicy>>> network_policies(
      std::string_view ns, bool live) const override {
    if (auto error = fail(live ? "live network_policies" : "network_policies"))
      return std::unexpected(*error);
    std::vector<std::shared_ptr<const policy::NetworkPolicy>> out;
    for (const json& object : live && !live_network_.empty() ? live_network_ : network_) {
      if (object["metadata"]["namespace"] == ns)
        out.push_back(std::make_shared<const policy::NetworkPolicy>(network_policy(object)));
    }
    return out;
  }
  Lookup<std::string> signature_problem(const policy::ImageToVerify& image,
                                        const policy::SignatureRule& /*rule*/) const override {
    if (auto error = fail("signature_problem")) return std::unexpected(*error);
    return std::ranges::find(signed_, image.text) == signed_.end() ? "has no signature" : "";
  }

 private:
  std::optional<std::string> fail(const std::string& lookup) const {
    ++lookups_;
    if (broken_ == lookup) return "the API server does not answer";
    return std::nullopt;
  }
};

// A review's request. Built up, then handed to a judge.
struct Review {
  std::string operation = "CREATE";
  std::string resource{};  // "pods/exec", "rolebindings"
  std::string group{};
  std::string ns = "team-a";
  std::string name{};
  std::string user = "mallory";
  std::vector<std::string> groups{"system:authenticated"};
  json object = nullptr;
  json old_object = nullptr;

  [[nodiscard]] json body() const {
    const auto slash = resource.find('/');
    json out{{"uid", "705ab4f5-6393-11e8-b7cc-42010a800002"},
             {"operation", operation},
             {"resource",
              {{"group", group}, {"version", "v1"}, {"resource", resource.substr(0, slash)}}},
             {"namespace", ns},
             {"name", name},
             {"userInfo", {{"username", user}, {"groups", groups}}},
             {"object", object},
             {"oldObject", old_object}};
    if (slash != std::string::npos) out["subResource"] = resource.substr(slash + 1);
    return out;
  }

  [[nodiscard]] Judgement ask(Judge judge, const ClusterView& cluster) const {
    simdjson::dom::parser parser;
    const simdjson::padded_string text(body().dump());
    const auto request = decode_request(parser.parse(text), kNow);
    if (!request) throw std::runtime_error(request.error());
    return judge(*request, cluster);
  }
};

inline std::string tell(const Judgement& judgement) {
  std::string out = "reason: " + judgement.reason + "\nerror: " + judgement.error + "\n";
  for (const policy::Finding& finding : judgement.findings) {
    out += std::string(finding.control) + " | " + finding.field + " | " + finding.found + " | " +
           finding.message + "\n";
  }
  return out;
}

inline void expect_passes(const Judgement& judgement) {
  EXPECT_TRUE(judgement.error.empty() && judgement.findings.empty()) << tell(judgement);
  EXPECT_FALSE(judgement.reason.empty());
}

// Refused for these fields of this control, in this order, each time with a fix. Without fields it
// passes.
inline void expect_refused(const Judgement& judgement, std::string_view control,
                           const std::vector<std::string>& fields) {
  if (fields.empty()) return expect_passes(judgement);
  EXPECT_TRUE(judgement.error.empty()) << judgement.error;
  EXPECT_FALSE(judgement.reason.empty());
  EXPECT_FALSE(judgement.subject.empty());
  std::vector<std::string> found;
  for (const policy::Finding& finding : judgement.findings) {
    EXPECT_EQ(finding.control, control) << tell(judgement);
    EXPECT_FALSE(finding.found.empty());
    EXPECT_GT(finding.message.size(), 20U);
    found.push_back(finding.field);
  }
  EXPECT_EQ(found, fields) << tell(judgement);
}

inline void expect_unsure(const Judgement& judgement, const std::string& why) {
  EXPECT_THAT(judgement.error, ::testing::HasSubstr(why)) << tell(judgement);
}

// A judge that must look all this up is unsure where one of the look-ups fails.
inline void expect_needs(Judge judge, const Review& review, FakeCluster& cluster,
                         const std::vector<std::string>& lookups) {
  for (const std::string& lookup : lookups) {
    cluster.broken_ = lookup;
    expect_unsure(review.ask(judge, cluster), "the API server does not answer");
  }
  cluster.broken_.clear();
}

inline json owned_by(const std::string& workspace, const std::string& uid = "") {
  return {{{"apiVersion", "palisade.dev/v1alpha1"},
           {"kind", "AgentWorkspace"},
           {"name", workspace},
           {"uid", uid.empty() ? "uid-" + workspace : uid},
           {"controller", true}}};
}

}  // namespace palisade::webhook::testing
