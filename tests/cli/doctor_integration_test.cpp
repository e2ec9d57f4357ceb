// `palisade doctor` on an installation of the rendered chart: a healthy one passes, and each
// tampering is found.
#include "cli/doctor.h"

namespace palisade::cli::testing {
namespace {

TEST_F(Doctor, AHealthyInstallationPasses) {
  const json document = report("", 0);
  EXPECT_EQ(messages(document, "problem"), "");
  EXPECT_EQ(messages(document, "warning"), "");
  const std::string ok = messages(document, "ok");
  for (const char* check :
       {"admission: ValidatingWebhookConfiguration", "admission: Mutating", "service: Deployment",
        "service: Service", "service: the authority", "service: the serving certificate",
        "definitions: agentworkspaces", "definitions: agentpolicies",
        "definitions: hardeningexceptions", "definitions: agentworkspacepools",
        "definitions: agentworkspacetemplates",
        "definitions: palisade-gateway, palisade-operator, palisade-webhook are of version",
        "isolation: nothing that 1 nodes",
        "isolation: NetworkPolicies, Landlock and seccomp held where session default/held ran",
        "namespaces: ", "static-pods: ", "network: ", "rights: "}) {
    EXPECT_TRUE(has(ok, check)) << check << '\n' << ok;
  }
  const auto text = run("doctor");
  EXPECT_EQ(text.status, 0);
  EXPECT_TRUE(has(text.out, "\nok      rights: ")) << text.out;
  EXPECT_TRUE(text.out.ends_with("0 problems, 0 warnings\n")) << text.out;
}

// Palisade's own programs name Aider's image on their command lines, and are left out.
TEST_F(Doctor, AScanFollowsTheInstallation) {
  const auto result = run("scan");
  EXPECT_EQ(result.status, 0) << result.out;
  EXPECT_TRUE(
      has(result.out, "left out by the webhook's configuration: kube-system, palisade-system"))
      << result.out;
  EXPECT_EQ(result.err, "");
  // The settings are those of the chart's ConfigMap.
  make_namespace("settled");
  close_network("settled");
  json lax = pod("lax");
  lax["spec"].erase("hostUsers");
  make(known::kPods, "settled", lax);
  EXPECT_EQ(run("scan -n settled").status, 1);
  edited(
      known::kConfigMaps, kNs, "palisade-config",
      [](json& o) { o["data"]["policy.json"] = R"({"requireUserNamespace": false})"; },
      [&] { EXPECT_EQ(run("scan -n settled").status, 0); });
  edited(
      known::kConfigMaps, kNs, "palisade-config",
      [](json& o) { o["data"]["policy.json"] = R"({"requireUserNamespaces": false})"; },
      [&] {
        const auto broken = run("scan -n settled");
        EXPECT_EQ(broken.status, 2);
        EXPECT_TRUE(has(broken.err, "ConfigMap palisade-system/palisade-config: ")) << broken.err;
      });
  remove(known::kPods, "settled", "lax");
}

json* entry_of(json& configuration, const std::string& name) {
  for (json& webhook : configuration["webhooks"]) {
    if (webhook["name"] == name) return &webhook;
  }
  return nullptr;
}

TEST_F(Doctor, TamperedConfigurationsAreFound) {
  struct Case {
    const char* name;
    std::function<void(json&)> edit;
    const char* said;
  };
  const auto pods = [](auto change) {
    return [change](json& object) { change(*entry_of(object, "pods.palisade.dev")); };
  };
  for (const Case& item : {
           Case{"an entry is gone", [](json& o) { o["webhooks"].erase(0); },
                "has lost its entry pods.palisade.dev"},
           Case{"a rule is gone", pods([](json& w) { w["rules"].erase(1); }),
                "pods.palisade.dev is not asked about: UPDATE pods/ephemeralcontainers"},
           Case{"an operation is gone",
                pods([](json& w) { w["rules"][0]["operations"] = {"CREATE"}; }),
                "is not asked about: UPDATE pods/v1"},
           Case{"a scope that holds no pod",
                pods([](json& w) { w["rules"][0]["scope"] = "Cluster"; }), "is not asked about"},
           Case{"a label decides", pods([](json& w) {
                  w["namespaceSelector"] = {{"matchLabels", {{"a", "b"}}}};
                }),
                "has a namespaceSelector"},
           Case{"an object's label decides", pods([](json& w) {
                  w["objectSelector"] = {
                      {"matchExpressions",
                       json::array({{{"key", "x"}, {"operator", "DoesNotExist"}}})}};
                }),
                "has a objectSelector"},
           Case{"away is open", pods([](json& w) { w["failurePolicy"] = "Ignore"; }),
                "lets everything through while the webhook is away"},
           Case{"other versions", pods([](json& w) { w["matchPolicy"] = "Exact"; }),
                "another API version"},
           Case{"a condition more", pods([](json& w) {
                  w["matchConditions"].push_back({{"name", "never"}, {"expression", "false"}});
                }),
                "has a match condition that the chart has not, \"never\""},
           Case{"another condition",
                pods([](json& w) { w["matchConditions"][0]["expression"] = "false"; }),
                "has another match condition \"not-exempt\""},
           Case{"a condition that only begins alike", pods([](json& w) {
                  w["matchConditions"][0]["expression"] =
                      w["matchConditions"][0]["expression"].get<std::string>() + " && false";
                }),
                "has another match condition \"not-exempt\""},
           Case{"fewer pods are sent", pods([](json& w) {
                  std::string expression = w["matchConditions"][1]["expression"];
                  w["matchConditions"][1]["expression"] =
                      expression.replace(expression.find("'aider'"), 7, "'aided'");
                }),
                "has another match condition \"could-be-an-agent\""},
           Case{"fewer of all pods are sent",
                [](json& o) {
                  (*entry_of(o, "all-pods.palisade.dev"))["matchConditions"][1]["expression"] =
                      "false";
                },
                "has another match condition \"could-be-no-agent\""},
           Case{"fewer namespaces enforce all",
                [](json& o) {
                  (*entry_of(o, "all-pods.palisade.dev"))["namespaceSelector"]["matchExpressions"]
                      .push_back({{"key", "a"}, {"operator", "Exists"}});
                },
                "all-pods.palisade.dev has a namespaceSelector"},
           Case{"another service",
                pods([](json& w) { w["clientConfig"]["service"]["name"] = "mine"; }),
                "asks another Service"},
           Case{"somebody else", pods([](json& w) {
                  w["clientConfig"].erase("service");
                  w["clientConfig"]["url"] = "https://192.0.2.7/";
                }),
                "asks https://192.0.2.7/ instead"},
           Case{"nobody is trusted", pods([](json& w) { w["clientConfig"].erase("caBundle"); }),
                "trusts no certificate"},
       }) {
    SCOPED_TRACE(item.name);
    edited(kValidating, "", "palisade-webhook", item.edit,
           [&] { expect("admission", "problem", item.said); });
  }
  edited(
      kMutating, "", "palisade-webhook", [](json& o) { o["webhooks"][0]["rules"].erase(0); },
      [&] { expect("admission", "problem", "creators.palisade.dev is not asked about"); });
  edited(kValidating, "", "palisade-webhook", pods([](json& w) { w["timeoutSeconds"] = 30; }),
         [&] { expect("admission", "warning", "may hold up a request for 30 seconds"); });
  // More than the chart asks for is no tampering.
  edited(kValidating, "", "palisade-webhook", pods([](json& w) {
           w["rules"] = json::array({{{"apiGroups", {"*"}},
                                      {"apiVersions", {"*"}},
                                      {"resources", {"*/*"}},
                                      {"operations", {"*"}},
                                      {"scope", "*"}}});
           w.erase("matchConditions");
         }),
         [&] { EXPECT_EQ(messages(report("--only admission", 0), "problem"), ""); });
}

TEST_F(Doctor, ATamperedSelfGuardIsFound) {
  struct Case {
    const kube::Resource* resource;
    std::function<void(json&)> edit;
    const char* said;
  };
  for (const Case& item : {
           Case{&kPolicies, [](json& o) { o["spec"]["failurePolicy"] = "Ignore"; },
                "lets through what it cannot judge"},
           Case{&kPolicies,
                [](json& o) {
                  o["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = {"CREATE"};
                },
                "is not asked about all writes"},
           Case{&kPolicies,
                [](json& o) {
                  o["spec"]["matchConstraints"]["excludeResourceRules"] =
                      o["spec"]["matchConstraints"]["resourceRules"];
                },
                "excludes some requests"},
           Case{&kPolicies,
                [](json& o) { o["spec"]["matchConditions"][0]["expression"] = "false"; },
                "has other matchConditions"},
           Case{&kPolicies, [](json& o) { o["spec"]["validations"][0]["expression"] = "true"; },
                "has other validations"},
           Case{&kPolicies, [](json& o) { o["spec"]["variables"][0]["expression"] = "true"; },
                "has other variables"},
           Case{&kPolicyBindings, [](json& o) { o["spec"]["validationActions"] = {"Audit"}; },
                "denies nothing"},
           Case{&kPolicyBindings,
                [](json& o) {
                  o["spec"]["matchResources"]["objectSelector"] = {{"matchLabels", {{"a", "b"}}}};
                },
                "selects by labels"},
       }) {
    SCOPED_TRACE(item.said);
    edited(*item.resource, "", "palisade-self-guard", item.edit,
           [&] { expect("admission", "problem", item.said); });
  }
}

TEST_F(Doctor, AMissingConfigurationIsFound) {
  struct Case {
    const kube::Resource& resource;
    const char* name;
    const char* said;
  };
  for (const auto& [resource, name, said] :
       {Case{kValidating, "palisade-webhook",
             "ValidatingWebhookConfiguration palisade-webhook is not there"},
        Case{kMutating, "palisade-webhook",
             "MutatingWebhookConfiguration palisade-webhook is not there"},
        Case{kPolicies, "palisade-self-guard", "palisade-self-guard is not there"},
        Case{kPolicyBindings, "palisade-self-guard", "palisade-self-guard has no binding"}}) {
    json object = *admin_->get(resource, "", name);
    remove(resource, "", name);
    expect("admission", "problem", said);
    object["metadata"].erase("resourceVersion");
    object["metadata"].erase("uid");
    make(resource, "", object);
  }
  EXPECT_EQ(messages(report("--only admission", 0), "problem"), "");
}

TEST_F(Doctor, ServicesAndCertificatesAreLookedAt) {
  const auto status = [](int ready) {
    return json{{"status", {{"readyReplicas", ready}, {"availableReplicas", ready}}}};
  };
  change(kDeployments, kNs, "palisade-webhook", status(0), "status");
  expect("service", "problem", "has no ready replica");
  change(kDeployments, kNs, "palisade-webhook", status(1), "status");
  expect("service", "warning", "has 1 of 2 replicas ready");
  change(kDeployments, kNs, "palisade-webhook", status(2), "status");
  edited(
      known::kEndpointSlices, kNs, "palisade-webhook-x",
      [](json& o) { o["endpoints"][0]["conditions"]["ready"] = false; },
      [&] { expect("service", "problem", "has no ready endpoint"); });
  edited(
      known::kSecrets, kNs, "palisade-webhook-tls", [](json& o) { o["data"]["tls.crt"] = "eA=="; },
      [&] { expect("service", "problem", "the serving certificate is no certificate"); });
  // Made on 2020-01-01 for a day.
  static const std::string kExpired = R"(-----BEGIN CERTIFICATE-----
MIIBCjCBsgIBATAKBggqhkjOPQQDAjASMRAwDgYDVQQDDAdleHBpcmVkMB4XDTIw
MDEwMTAwMDAwMFoXDTIwMDEwMjAwMDAwMFowEjEQMA4GA1UEAwwHZXhwaXJlZDBZ
MBMGByqGSM49AgEGCCqGSM49AwEHA0IABPQpGGBbQL+WkYtdb+h1s+bH3BkLohgH
iI0hnAZiy4VsYKrQtUn1+ATsX1RaGP79UZKSReUX6FSNBdbcy/9l07cwCgYIKoZI
zj0EAwIDRwAwRAIgCKNjWSF5wXf0kX0Iv4Wn25DTpilC4v3jBcE8Yzcs+2MCIGgm
zs7VRjDdgjYBBOuHPOOUputAnwI58nk9gWEeMu2w
-----END CERTIFICATE-----
)";
  edited(
      known::kSecrets, kNs, "palisade-webhook-tls",
      [](json& o) { o["data"]["tls.crt"] = kube::encode_base64(kExpired); },
      [&] {
        expect("service", "problem", "the serving certificate has expired at 2020-01-02 00:00 UTC");
      });
}

json& workspace_fields(json& definition, const char* part) {
  return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
                   ["properties"];
}

TEST_F(Doctor, DefinitionsAreLookedAt) {
  const kube::Resource& kind = known::kCustomResourceDefinitions;
  const char* name = "agentworkspaces.palisade.dev";
  edited(
      kind, "", "hardeningexceptions.palisade.dev",
      [](json& o) { o["spec"]["versions"][0]["served"] = false; },
      [&] { expect("definitions", "problem", "hardeningexceptions.palisade.dev is not served"); });
  edited(
      kind, "", name, [](json& o) { workspace_fields(o, "status").erase("warmPod"); },
      [&] {
        expect("definitions", "problem",
               "agentworkspaces.palisade.dev is of an older version than this palisade (");
        expect("definitions", "problem",
               "it lacks v1alpha1:status.warmPod, v1alpha1:status.warmPod.lifetimeSeconds, "
               "v1alpha1:status.warmPod.name and 3 more, and what programs write there is dropped");
      });
  edited(
      kind, "", name,
      [](json& o) {
        workspace_fields(o, "spec")["later"] = {{"type", "string"}};
      },
      [&] {
        expect("definitions", "warning",
               "agentworkspaces.palisade.dev is of a later version than this palisade (");
        expect("definitions", "warning", "it has v1alpha1:spec.later");
      });
  const std::string pools = "agentworkspacepools.palisade.dev";
  const auto before = admin_->get(kind, "", pools);
  ASSERT_TRUE(before);
  remove(kind, "", pools);
  expect("definitions", "problem",
         "CustomResourceDefinition agentworkspacepools.palisade.dev is not there");
  ASSERT_TRUE(kube::Result<void>(
      env_->install_crd(environment("PALISADE_SOURCE_DIR") + "/crds/" + pools + ".yaml")));
}

TEST_F(Doctor, AnUpgradeThatIsHalfDoneIsFound) {
  const auto label = [](const std::string& version) {
    return [version](json& o) { o["metadata"]["labels"]["app.kubernetes.io/version"] = version; };
  };
  edited(kDeployments, kNs, "palisade-operator", label("0.0.9"), [&] {
    expect("definitions", "problem",
           "Palisade's programs are of several versions: palisade-operator of 0.0.9; "
           "palisade-gateway, palisade-webhook of ");
    edited(kDeployments, kNs, "palisade-webhook", label("0.0.9"), [&] {
      edited(kDeployments, "palisade-gateway", "palisade-gateway", label("0.0.9"), [&] {
        expect("definitions", "warning", "the release is of version 0.0.9, this palisade and");
      });
    });
  });
  EXPECT_EQ(messages(report("--only definitions", 0), "warning"), "");
  change(kDeployments, kNs, "palisade-webhook", {{"status", {{"updatedReplicas", 1}}}}, "status");
  expect("definitions", "warning",
         "Deployment palisade-system/palisade-webhook is half upgraded: 1 of 2 pods");
  change(kDeployments, kNs, "palisade-webhook", {{"status", {{"updatedReplicas", 2}}}}, "status");
}

TEST_F(Doctor, WhatGuardFoundIsTold) {
  make_session("open", "False", "PreflightFailed", "Failed");
  expect("isolation", "problem",
         "session default/open found its network open, so NetworkPolicies are not enforced where "
         "it ran: 198.51.100.7:443 answered");
  remove(kWorkspaces, "default", "open");
  EXPECT_EQ(messages(report("--only isolation", 0), "problem"), "");
}

TEST_F(Doctor, LabelsThatLoosenTheGuardAreFound) {
  struct Case {
    const char* key;
    const char* value;
    const char* said;
  };
  make_namespace("labels");
  for (const Case& item : {
           Case{"palisade.dev/enforce", "off", "turns the guard off there"},
           Case{"palisade.dev/enforce", "of", "is none of agents, all, off, and counts as all"},
           Case{"palisade.dev/mode", "warn", "lets findings through with a warning"},
           Case{"palisade.dev/mode", "x", "counts as enforce"},
           Case{"control.palisade.dev/apparmor", "audit", "lets findings of apparmor through"},
           Case{"control.palisade.dev/namespace-labels", "warn", "has no effect"},
           Case{"control.palisade.dev/palisade-objects", "audit", "is enforced everywhere"},
           Case{"control.palisade.dev/apparmour", "enforce", "did you mean apparmor?"},
           Case{"palisade.dev/enforced", "all", "means nothing to Palisade"},
       }) {
    change(known::kNamespaces, "", "labels",
           {{"metadata", {{"labels", {{item.key, item.value}}}}}});
    expect("namespaces", "warning", item.said);
    change(known::kNamespaces, "", "labels", {{"metadata", {{"labels", {{item.key, nullptr}}}}}});
  }
  edited(
      kValidating, "", "palisade-webhook",
      [](json& o) {
        (*entry_of(o, "pods.palisade.dev"))["matchConditions"][0]["expression"] =
            R"(!(request.namespace in ["kube-system","labels","palisade-system"]))";
      },
      [&] {
        expect("namespaces", "warning", "namespace labels is exempt");
        EXPECT_EQ(messages(report("--only admission", 0), "problem"), "");
      });
}

TEST_F(Doctor, StaticPodsAndOpenNetworksAreFound) {
  make_namespace("stray");
  make(known::kPods, "stray", pod("open"));
  expect("network", "problem", "pod stray/open runs an agent with an open network");
  close_network("stray");
  EXPECT_EQ(messages(report("--only network", 0), "problem"), "");
  // As a kubelet writes it.
  json mirror = pod("static");
  mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "x";
  mirror["spec"]["nodeName"] = "node-1";
  make(known::kPods, "stray", mirror);
  expect("static-pods", "problem", "pod stray/static runs an agent from a file on a node");
  remove(known::kPods, "stray", "static");
  remove(known::kPods, "stray", "open");
}

TEST_F(Doctor, WhatCannotBeReadIsNoPass) {
  const auto result = run("doctor --kubeconfig '" + nobody() + "'");
  EXPECT_EQ(result.status, 2);
  EXPECT_TRUE(has(result.err, "this user lacks the right")) << result.err;
  EXPECT_EQ(run("doctor --only nothing").status, 2);
}

}  // namespace
}  // namespace palisade::cli::testing
