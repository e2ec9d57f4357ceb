// The guard round an agent pod on a real API server: the chart's webhook configurations, the real
// program behind them, and users who may do everything.
#pragma once

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "as_user.h"
#include "chart/chart.h"
#include "definitions.h"
#include "policy/fixture.h"
#include "webhook/program.h"

namespace palisade::webhook::testing {

using chart::testing::Directory;
using nlohmann::json;
namespace fs = std::filesystem;

inline constexpr const char* kOperator = "system:serviceaccount:palisade-system:palisade-operator";
inline constexpr const char* kCollector =
    "system:serviceaccount:kube-system:generic-garbage-collector";
inline const std::string kTeam = "/api/v1/namespaces/team-a/";
inline const std::string kNetwork = "/apis/networking.k8s.io/v1/namespaces/team-a/networkpolicies";
inline const std::string kWorkspaces =
    "/apis/palisade.dev/v1alpha1/namespaces/team-a/agentworkspaces";
inline const std::string kRbac = "/apis/rbac.authorization.k8s.io/v1/";

struct Answer {
  int status = 0;
  json body;
  [[nodiscard]] std::string message() const {
    return body.is_object() ? body.value("message", body.dump()) : body.dump();
  }
  [[nodiscard]] bool refused() const {
    return status == 403 && message().find("Palisade refuses") != std::string::npos;
  }
};

class Guard : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<Directory>();
    const fs::path tokens = directory_->path() / "tokens";
    std::ofstream(tokens) << "mallory,mallory,1,all\njane,jane,2,all\n"
                          << "operator," << kOperator << ",3,all\n"
                          << "scheduler,system:kube-scheduler,4,all\n"
                          << "collector," << kCollector << ",5,all\n"
                          << "root,root,6,system:masters\n";
    const fs::path audited = directory_->path() / "audit-policy.json";
    std::ofstream(audited) << json{
        {"apiVersion", "audit.k8s.io/v1"},
        {"kind", "Policy"},
        {"omitStages", {"RequestReceived"}},
        {"rules", {{{"level", "Metadata"}, {"users", {"mallory", "jane"}}}, {{"level", "None"}}}}};
    audit_log_ = directory_->path() / "audit.log";
    kube::EnvTestOptions options;
    // What is audited is written before it is answered.
    options.apiserver_flags = {
        "--token-auth-file=" + tokens.string(), "--audit-policy-file=" + audited.string(),
        "--audit-log-path=" + audit_log_.string(), "--audit-log-mode=blocking-strict"};
    auto started = kube::EnvTest::start(options);
    ASSERT_TRUE(started) << started.error().text();
    env_ = *std::move(started);
    transport_ = transport_to(as_user(env_->config()));
    const auto installed = install_definitions(*env_, {"agentworkspaces", "agentworkspacetemplates",
                                                       "agentpolicies", "hardeningexceptions"});
    ASSERT_TRUE(installed) << installed.error().text();
    must("root", "POST", kRbac + "clusterrolebindings",
         {{"metadata", {{"name", "all"}}},
          {"roleRef",
           {{"apiGroup", "rbac.authorization.k8s.io"},
            {"kind", "ClusterRole"},
            {"name", "cluster-admin"}}},
          {"subjects",
           {{{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "Group"}, {"name", "all"}}}}});
    for (const char* name : {"palisade-system", "team-a"})
      must("root", "POST", "/api/v1/namespaces", {{"metadata", {{"name", name}}}});
    // As the chart makes them, but by URL: nothing routes a Service here.
    const std::uint16_t port = free_port();
    for (json object : chart::testing::objects()) {
      const std::string kind = object["kind"];
      if (!kind.ends_with("WebhookConfiguration")) continue;
      for (json& hook : object["webhooks"]) {
        const std::string path = hook["clientConfig"]["service"]["path"];
        hook["clientConfig"] = {{"url", "https://127.0.0.1:" + std::to_string(port) + path}};
        // Slow where two cores are shared.
        hook["timeoutSeconds"] = 15;
      }
      must("root", "POST",
           "/apis/admissionregistration.k8s.io/v1/" +
               std::string(kind.starts_with("Mutating") ? "mutating" : "validating") +
               "webhookconfigurations",
           object);
    }
    const std::uint16_t metrics = free_port();
    log_ = directory_->path() / "webhook.log";
    webhook_ = std::make_unique<kube::envtest::Process>();
    const auto running =
        webhook_->start({"/usr/bin/env", "ASAN_OPTIONS=detect_leaks=0", PALISADE_WEBHOOK_PROGRAM,
                         "--kubeconfig=" + env_->kubeconfig_path(), "--address=127.0.0.1",
                         "--port=" + std::to_string(port), "--namespace=palisade-system",
                         "--mutating-webhook-configuration=palisade-webhook",
                         "--extra-san=127.0.0.1", "--metrics-address=127.0.0.1",
                         "--metrics-port=" + std::to_string(metrics), "--drain-seconds=1"},
                        log_);
    ASSERT_TRUE(running) << running.error().text();
    ASSERT_TRUE(eventually([&] {
      try {
        raw::Client probe(metrics, false);
        probe.write("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
        return probe.reply().value_or(raw::Reply{}).status == 200;
      } catch (const std::runtime_error&) {
        return false;
      }
    })) << kube::envtest::tail(log_, 30);
    populate();
  }
  static void TearDownTestSuite() {
    webhook_->stop(SIGTERM, std::chrono::seconds(20));
    webhook_.reset();
    transport_.reset();
    env_.reset();
    directory_.reset();
  }

  static Answer call(const std::string& user, const std::string& method, const std::string& path,
                     const json& body = nullptr) {
    kube::Request request;
    request.method = method;
    request.target = path;
    request.headers = {{"Authorization", "Bearer " + user}};
    if (!body.is_null()) {
      request.body = body.dump();
      request.headers.emplace_back("Content-Type", method == "PATCH"
                                                       ? "application/strategic-merge-patch+json"
                                                       : "application/json");
      if (method == "PATCH" && path.find("palisade.dev") != std::string::npos)
        request.headers.back().second = "application/merge-patch+json";
    }
    const auto response = transport_->send(request, {});
    if (!response) throw std::runtime_error(response.error().text());
    return {response->status, json::parse(response->body, nullptr, false)};
  }
  static json must(const std::string& user, const std::string& method, const std::string& path,
                   const json& body = nullptr) {
    const Answer answer = call(user, method, path, body);
    EXPECT_LT(answer.status, 300) << method << " " << path << ": " << answer.message();
    return answer.body;
  }

  struct Attempt {
    const char* name;
    std::string method;
    std::string path;
    json body;
    const char* control;
    const char* user = "mallory";
  };
  // Nothing of an attempt is kept, whether it is refused or not.
  static void expect_refused(const std::vector<Attempt>& attempts) {
    for (const Attempt& attempt : attempts) {
      const bool asks = attempt.path.find('?') != std::string::npos;
      const Answer answer = call(attempt.user, attempt.method,
                                 attempt.path + (asks ? "&" : "?") + "dryRun=All", attempt.body);
      EXPECT_TRUE(answer.refused())
          << attempt.name << ": " << answer.status << " " << answer.message();
      // Guards tell it as controls do.
      for (const std::string& part : {"[" + std::string(attempt.control) + "] ",
                                      std::string("why: "), std::string("fix: ")}) {
        EXPECT_THAT(answer.message(), ::testing::HasSubstr(part)) << attempt.name;
      }
    }
  }
  static void expect_passes(const std::vector<Attempt>& attempts) {
    for (const Attempt& attempt : attempts) {
      const bool asks = attempt.path.find('?') != std::string::npos;
      const Answer answer = call(attempt.user, attempt.method,
                                 attempt.path + (asks ? "&" : "?") + "dryRun=All", attempt.body);
      EXPECT_LT(answer.status, 300) << attempt.name << ": " << answer.message();
    }
  }

  static json owned(const std::string& name) {
    return {{"metadata",
             {{"name", name},
              {"labels",
               {{"palisade.dev/workspace", "fix"}, {"app.kubernetes.io/managed-by", "palisade"}}},
              {"ownerReferences",
               {{{"apiVersion", "palisade.dev/v1alpha1"},
                 {"kind", "AgentWorkspace"},
                 {"name", "fix"},
                 {"uid", uid_},
                 {"controller", true}}}}}}};
  }
  // As the operator makes it where it is to be kept: nobody owns it.
  static json volume(const std::string& name) {
    json out = owned(name);
    out["metadata"].erase("ownerReferences");
    out["metadata"]["annotations"] = {{"palisade.dev/workspace-uid", uid_}};
    out["spec"] = {{"accessModes", {"ReadWriteOnce"}},
                   {"resources", {{"requests", {{"storage", "1Gi"}}}}}};
    return out;
  }
  static json pod_by_hand(const std::string& name) {
    json pod = policy::testing::good_pod();
    pod["metadata"] = {{"name", name}, {"labels", {{"app", "aider"}}}};
    return pod;
  }
  static json network(const std::string& name, const json& spec) {
    return {{"metadata", {{"name", name}}}, {"spec", spec}};
  }

  // Workspace fix of jane's with all that its operator makes, and an agent pod made by hand.
  static void populate() {
    const json workspace = must(
        "jane", "POST", kWorkspaces,
        {{"apiVersion", "palisade.dev/v1alpha1"},
         {"kind", "AgentWorkspace"},
         {"metadata", {{"name", "fix"}, {"annotations", {{"palisade.dev/created-by", "mallory"}}}}},
         {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}});
    EXPECT_EQ(workspace.at("metadata").at("annotations").at("palisade.dev/created-by"), "jane");
    uid_ = workspace.at("metadata").at("uid");
    must("operator", "POST", kTeam + "serviceaccounts", owned("fix-agent"));
    must("operator", "POST", kTeam + "configmaps", owned("fix-agent"));
    must("operator", "POST", kTeam + "secrets", owned("fix-git"));
    must("operator", "POST", kTeam + "persistentvolumeclaims", volume("fix-workspace"));
    json policy = owned("fix-agent");
    policy["spec"] = {
        {"podSelector", {{"matchLabels", {{"palisade.dev/workspace", "fix"}}}}},
        {"policyTypes", {"Ingress", "Egress"}},
        {"egress",
         {{{"to", {{{"ipBlock", {{"cidr", "192.0.2.10/32"}}}}}}, {"ports", {{{"port", 443}}}}}}}};
    must("operator", "POST", kNetwork, policy);
    json pod = policy::testing::good_pod();
    json metadata = owned("fix-agent")["metadata"];
    metadata["labels"]["palisade.dev/agent"] = "aider";
    metadata["annotations"] = {{"palisade.dev/access", "{}"}};
    pod["metadata"] = metadata;
    pod["spec"]["schedulingGates"] = {{{"name", "palisade.dev/network-policy"}}};
    must("operator", "POST", kTeam + "pods", pod);
    must("mallory", "POST", kNetwork,
         network("deny-hands", {{"podSelector", {{"matchLabels", {{"app", "aider"}}}}},
                                {"policyTypes", {"Ingress", "Egress"}}}));
    must("mallory", "POST", kTeam + "pods", pod_by_hand("by-hand"));
    must("mallory", "POST", kTeam + "configmaps", {{"metadata", {{"name", "mine"}}}});
    // Until the watch of pods has both.
    for (const char* app : {"aider", "fix"}) {
      const json labels{{app == std::string("fix") ? "palisade.dev/workspace" : "app", app}};
      ASSERT_TRUE(eventually([&] {
        return call("mallory", "POST", kNetwork + "?dryRun=All",
                    network("probe", {{"podSelector", {{"matchLabels", labels}}},
                                      {"ingress", {json::object()}}}))
            .refused();
      })) << app
          << kube::envtest::tail(log_, 30);
    }
  }

  static inline std::unique_ptr<Directory> directory_;
  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::unique_ptr<kube::Transport> transport_;
  static inline std::unique_ptr<kube::envtest::Process> webhook_;
  static inline fs::path log_, audit_log_;
  static inline std::string uid_;
};

}  // namespace palisade::webhook::testing
