// A real API server that has taken what `palisade render vap` prints, and what it says of objects.
#pragma once

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <render.h>

#include <kube/client.h>
#include <kube/envtest.h>
#include <policy/policy.h>
#include <policy/templates.h>

#include "as_user.h"
#include "policy/fixture.h"

namespace palisade::vap::testing {

using nlohmann::json;
namespace resources = kube::resources;

inline const kube::Resource kPolicies{"admissionregistration.k8s.io", "v1",
                                      "validatingadmissionpolicies", "ValidatingAdmissionPolicy",
                                      false};
inline const kube::Resource kBindings{"admissionregistration.k8s.io", "v1",
                                      "validatingadmissionpolicybindings",
                                      "ValidatingAdmissionPolicyBinding", false};

inline kube::Resource resource_of(const policy::PodTemplate& kind) {
  return {std::string(kind.group), "v1", std::string(kind.resource), std::string(kind.kind), true};
}

// What the API server did with an object.
struct Verdict {
  bool created = false;
  bool judged = false;             // refused by one of our policies
  std::set<std::string> controls;  // that it named
  std::string text;                // the whole error
};

class Cluster {
 public:
  Cluster() {
    std::string pattern = (std::filesystem::temp_directory_path() / "palisade-vap-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    directory_ = pattern;
    const std::filesystem::path audited = directory_ / "audit-policy.json";
    std::ofstream(audited) << json{
        {"apiVersion", "audit.k8s.io/v1"},
        {"kind", "Policy"},
        {"omitStages", {"RequestReceived"}},
        {"rules",
         {{{"level", "Metadata"}, {"namespaces", {"warned", "audited"}}}, {{"level", "None"}}}}};
    kube::EnvTestOptions options;
    options.apiserver_flags = {"--audit-policy-file=" + audited.string(),
                               "--audit-log-path=" + audit_log().string(),
                               "--audit-log-mode=blocking-strict"};
    auto started = kube::EnvTest::start(options);
    if (!started) throw std::runtime_error(started.error().text());
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
    transport_ = transport_to(env_->config());
  }
  ~Cluster() {
    transport_.reset();
    client_.reset();
    env_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  [[nodiscard]] const kube::Client& client() const { return *client_; }

  void name_space(const std::string& name, const json& labels = json::object()) {
    const auto made = client_->create(resources::kNamespaces, "",
                                      {{"apiVersion", "v1"},
                                       {"kind", "Namespace"},
                                       {"metadata", {{"name", name}, {"labels", labels}}}});
    ASSERT_TRUE(made) << made.error().text();
  }

  // Under the names of `prefix`; returns before they are in effect.
  void install(const policy::Settings& settings, const std::string& prefix,
               const json& only = nullptr) {
    cli::VapOptions options;
    options.name_prefix = prefix;
    for (const nlohmann::ordered_json& object : cli::vap_objects(settings, options)) {
      json plain = json::parse(object.dump());
      const bool binding = plain.at("kind") == "ValidatingAdmissionPolicyBinding";
      // For some namespaces alone, so that several settings can stand beside each other.
      if (binding && !only.is_null())
        plain["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"].push_back(only);
      const auto made = client_->create(binding ? kBindings : kPolicies, "", plain);
      ASSERT_TRUE(made) << made.error().text();
    }
  }

  // What a user sees of a pod's creation, and what the audit log has of it.
  struct Told {
    int status = 0;
    std::vector<std::string> warnings;
    std::string recorded;  // what policies found, as they recorded it
  };
  Told tell(const std::string& ns, json pod) {
    const std::string name = "told-" + std::to_string(++made_);
    pod["metadata"]["name"] = name;
    pod["metadata"]["namespace"] = ns;
    kube::Request request;
    request.method = "POST";
    request.target = "/api/v1/namespaces/" + ns + "/pods?fieldManager=" + name;
    request.headers = {{"Content-Type", "application/json"}};
    request.body = pod.dump();
    const auto response = transport_->send(request, {});
    if (!response) throw std::runtime_error(response.error().text());
    Told out{response->status, {}, {}};
    for (auto [key, value] : response->headers) {
      std::ranges::transform(key, key.begin(), [](unsigned char c) { return std::tolower(c); });
      if (key == "warning") out.warnings.push_back(value);
    }
    json event;
    EXPECT_TRUE(eventually([&] { return !(event = audited(name)).is_null(); })) << name;
    out.recorded = event.value("annotations", json::object())
                       .value("validation.policy.admission.k8s.io/validation_failure", "");
    return out;
  }

  // Creates it under a name of its own.
  Verdict create(const kube::Resource& resource, const std::string& ns, json object) {
    object["apiVersion"] = resource.api_version();
    object["kind"] = resource.kind;
    object["metadata"]["name"] = "fixture-" + std::to_string(++made_);
    object["metadata"]["namespace"] = ns;
    return verdict(client_->create(resource, ns, object));
  }

  static Verdict verdict(const kube::Result<json>& result) {
    Verdict out;
    out.created = result.has_value();
    if (result) return out;
    out.text = result.error().text();
    const auto from = out.text.find("It breaks ");
    out.judged = out.text.find("denied request: Palisade refuses this ") != std::string::npos &&
                 from != std::string::npos;
    if (!out.judged) return out;
    std::string list = out.text.substr(from + 10);
    list = list.substr(0, list.find(". "));
    for (std::size_t at = 0; at < list.size();) {
      const auto end = std::min(list.find(", ", at), list.size());
      out.controls.insert(list.substr(at, end - at));
      at = end + 2;
    }
    return out;
  }

  // Until the policies judge, which they do some time after they are stored.
  template <class Holds>
  static bool eventually(const Holds& holds) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return true;
  }

 private:
  [[nodiscard]] std::filesystem::path audit_log() const { return directory_ / "audit.log"; }
  // The event of the request that names this manager.
  [[nodiscard]] json audited(const std::string& manager) const {
    std::ifstream log(audit_log());
    for (std::string line; std::getline(log, line);) {
      json event = json::parse(line, nullptr, false);
      if (event.is_object() && event.value("requestURI", "").ends_with("fieldManager=" + manager)) {
        return event;
      }
    }
    return nullptr;
  }

  std::filesystem::path directory_;
  std::unique_ptr<kube::EnvTest> env_;
  std::unique_ptr<kube::Client> client_;
  std::unique_ptr<kube::Transport> transport_;
  int made_ = 0;
};

// What the webhook would name, controls that need the cluster aside.
inline std::set<std::string> expected(const json& pod, const policy::Settings& settings = {},
                                      bool all = false) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(pod.dump());
  const simdjson::dom::element element = parser.parse(text);
  if (!all && policy::agent_reason(element).empty()) return {};
  return policy::testing::controls_of(policy::evaluate(element, settings));
}

}  // namespace palisade::vap::testing
