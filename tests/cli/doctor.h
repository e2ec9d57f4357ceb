// An installation of the rendered chart, as a healthy cluster would have it.
#pragma once

#include <array>
#include <functional>
#include <tuple>

#include <kube/base64.h>

#include "cli/cluster.h"
#include "yaml_json.h"

namespace palisade::cli::testing {

namespace known = kube::resources;

inline constexpr const char* kNs = "palisade-system";

// Valid from 2020 to 2120.
inline const std::string kCertificate = R"(-----BEGIN CERTIFICATE-----
MIIBHjCBxgIBAjAKBggqhkjOPQQDAjAbMRkwFwYDVQQDDBBwYWxpc2FkZS13ZWJo
b29rMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAbMRkwFwYDVQQD
DBBwYWxpc2FkZS13ZWJob29rMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9CkY
YFtAv5aRi11v6HWz5sfcGQuiGAeIjSGcBmLLhWxgqtC1SfX4BOxfVFoY/v1RkpJF
5RfoVI0F1tzL/2XTtzAKBggqhkjOPQQDAgNHADBEAiB8TeHI0lbZ6p9a9/RjNBDa
3c3XJr/cLK9ZE24vsfqfGAIgKXu0/uW5wWlvcxurrsNSqOEKoFSqO88J6Q8eqeX3
cOo=
-----END CERTIFICATE-----
)";

inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

inline const kube::Resource kDeployments{"apps", "v1", "deployments", "Deployment", true};
inline const kube::Resource kMutating{"admissionregistration.k8s.io", "v1",
                                      "mutatingwebhookconfigurations",
                                      "MutatingWebhookConfiguration", false};
inline const kube::Resource kPolicies{"admissionregistration.k8s.io", "v1",
                                      "validatingadmissionpolicies", "ValidatingAdmissionPolicy",
                                      false};
inline const kube::Resource kPolicyBindings{"admissionregistration.k8s.io", "v1",
                                            "validatingadmissionpolicybindings",
                                            "ValidatingAdmissionPolicyBinding", false};
inline const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces",
                                        "AgentWorkspace", true};
// A reference: copies of other files' constants may be made before these.
inline const kube::Resource& kValidating = known::kValidatingWebhookConfigurations;
inline const kube::Resource kClusterRoles{"rbac.authorization.k8s.io", "v1", "clusterroles",
                                          "ClusterRole", false};
inline const kube::Resource kClusterRoleBindings{
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false};
inline const kube::Resource kRoles{"rbac.authorization.k8s.io", "v1", "roles", "Role", true};
inline const kube::Resource kRoleBindings{"rbac.authorization.k8s.io", "v1", "rolebindings",
                                          "RoleBinding", true};

class Doctor : public ClusterTest {
 protected:
  static void SetUpTestSuite() {
    // The chart's configurations are looked at, not obeyed: no webhook runs here.
    apiserver_flags_ = {
        "--disable-admission-plugins=ServiceAccount,ValidatingAdmissionWebhook,"
        "MutatingAdmissionWebhook,ValidatingAdmissionPolicy"};
    ClusterTest::SetUpTestSuite();
    if (env_) install();
  }

  // What `helm install` and the controllers of a cluster would make.
  static void install() {
    install_crds({"agentworkspaces", "agentworkspacetemplates", "agentworkspacepools",
                  "agentpolicies", "hardeningexceptions"});
    make(known::kNamespaces, "", {{"metadata", {{"name", kNs}}}});
    for (json object : rendered()) {
      const auto resource = resource_of(object);
      if (resource.plural.empty()) continue;
      if (object.contains("webhooks")) {
        for (json& webhook : object["webhooks"])
          webhook["clientConfig"]["caBundle"] = kube::encode_base64(kCertificate);
      }
      make(resource, object["metadata"].value("namespace", ""), object);
    }
    make(known::kSecrets, kNs,
         {{"metadata", {{"name", "palisade-webhook-tls"}}},
          {"data",
           {{"tls.crt", kube::encode_base64(kCertificate)},
            {"ca.crt", kube::encode_base64(kCertificate)}}}});
    make(known::kEndpointSlices, kNs,
         {{"metadata",
           {{"name", "palisade-webhook-x"},
            {"labels", {{"kubernetes.io/service-name", "palisade-webhook"}}}}},
          {"addressType", "IPv4"},
          {"endpoints",
           json::array({{{"addresses", {"192.0.2.1"}}, {"conditions", {{"ready", true}}}}})}});
    for (const auto& [name, ns, replicas] :
         {std::tuple{"palisade-webhook", kNs, 2}, std::tuple{"palisade-operator", kNs, 1},
          std::tuple{"palisade-gateway", "palisade-gateway", 2}}) {
      change(kDeployments, ns, name,
             {{"status",
               {{"observedGeneration", 1},
                {"replicas", replicas},
                {"updatedReplicas", replicas},
                {"readyReplicas", replicas},
                {"availableReplicas", replicas}}}},
             "status");
    }
    make(known::kNodes, "", {{"metadata", {{"name", "node-1"}}}});
    change(known::kNodes, "", "node-1",
           {{"status",
             {{"nodeInfo",
               {{"kernelVersion", "6.18.0"},
                {"architecture", "amd64"},
                {"kubeletVersion", "v1.36.3"},
                {"containerRuntimeVersion", "containerd://2.4.2"},
                {"bootID", ""},
                {"kubeProxyVersion", ""},
                {"machineID", ""},
                {"operatingSystem", "linux"},
                {"osImage", ""},
                {"systemUUID", ""}}}}}},
           "status");
    make_session("held", "True", "NetworkPolicyInPlace", "Succeeded");
  }

  static void make_session(const std::string& name, const char* isolated, const char* reason,
                           const char* phase) {
    make(kWorkspaces, "default",
         {{"metadata", {{"name", name}}},
          {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}});
    change(kWorkspaces, "default", name,
           {{"status",
             {{"phase", phase},
              {"startedAt", "2026-01-01T00:00:00Z"},
              {"conditions",
               {{{"type", "Isolated"},
                 {"status", isolated},
                 {"reason", reason},
                 {"message", "198.51.100.7:443 answered"},
                 {"lastTransitionTime", "2026-01-01T00:00:00Z"}}}}}}},
           "status");
  }

  static std::vector<json> rendered() {
    const std::string command = environment("PALISADE_TOOLS_BIN") + "/helm template palisade " +
                                environment("PALISADE_SOURCE_DIR") +
                                "/charts/palisade --skip-tests --namespace " + kNs + " 2>/dev/null";
    std::FILE* pipe = ::popen(command.c_str(), "r");
    std::string text;
    std::array<char, 4096> buffer{};
    for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
      text.append(buffer.data(), n);
    EXPECT_EQ(::pclose(pipe), 0) << "helm is one of the tools: make tools";
    const auto documents = read_documents(text);
    EXPECT_TRUE(documents);
    std::vector<json> out;
    if (!documents) return out;
    for (const Document& document : *documents)
      out.push_back(json::parse(document.json));
    return out;
  }

  static kube::Resource resource_of(const json& object) {
    for (const kube::Resource& one :
         {kDeployments, kMutating, kPolicies, kPolicyBindings, kValidating, kClusterRoles,
          kClusterRoleBindings, kRoles, kRoleBindings, known::kNamespaces, known::kServices,
          known::kConfigMaps, known::kServiceAccounts}) {
      if (object.at("kind") == one.kind) return one;
    }
    return {};
  }

  static void change(const kube::Resource& resource, const std::string& ns, const std::string& name,
                     const json& patch, const std::string& subresource = "") {
    const auto done =
        admin_->patch(resource, ns, name, kube::PatchType::kMerge, patch, subresource);
    ASSERT_TRUE(done) << done.error().text();
  }
  static void remove(const kube::Resource& resource, const std::string& ns,
                     const std::string& name) {
    kube::DeleteOptions options;
    options.grace_period_seconds = 0;
    const auto done = admin_->remove(resource, ns, name, options);
    ASSERT_TRUE(done) << done.error().text();
  }
  // Replaces an object by what `edit` makes of it, runs `then`, and puts the old one back.
  static void edited(const kube::Resource& resource, const std::string& ns, const std::string& name,
                     const std::function<void(json&)>& edit, const std::function<void()>& then) {
    auto before = admin_->get(resource, ns, name);
    ASSERT_TRUE(before) << before.error().text();
    json now = *before;
    edit(now);
    const auto done = admin_->update(resource, ns, name, now);
    ASSERT_TRUE(done) << done.error().text();
    then();
    json back = *before;
    back["metadata"]["resourceVersion"] = done->at("metadata").at("resourceVersion");
    const auto restored = admin_->update(resource, ns, name, back);
    ASSERT_TRUE(restored) << restored.error().text();
  }

  json report(const std::string& arguments, int status) const {
    const auto result = run("doctor -o json " + arguments);
    EXPECT_EQ(result.status, status) << result.out << result.err;
    return json::accept(result.out) ? json::parse(result.out) : json::object();
  }
  // The messages of a level, one a line.
  static std::string messages(const json& document, const std::string& level) {
    std::string out;
    for (const json& one : document.at("checks")) {
      if (one.at("level") != level) continue;
      out +=
          one.at("check").get<std::string>() + ": " + one.at("message").get<std::string>() + "\n";
      EXPECT_EQ(one.at("fix") == "", level == "ok") << one;
    }
    return out;
  }
  void expect(const std::string& only, const std::string& level, const std::string& said) const {
    const json document = report("--only " + only, level == "problem" ? 1 : 0);
    EXPECT_TRUE(has(messages(document, level), said))
        << "expected " << level << ": " << said << '\n'
        << document.dump(1);
  }
};

}  // namespace palisade::cli::testing
