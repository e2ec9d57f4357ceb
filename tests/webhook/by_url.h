// A cluster whose API server asks a webhook on loopback, and what is made in it.
#pragma once

#include <string>

#include "webhook/reviews.h"

namespace palisade::webhook::testing {

// As the chart makes it, but by URL: nothing routes a Service here.
inline json webhook_configuration(const std::string& name, std::uint16_t port) {
  return {{"apiVersion", "admissionregistration.k8s.io/v1"},
          {"kind", "ValidatingWebhookConfiguration"},
          {"metadata", {{"name", name}}},
          {"webhooks",
           {{{"name", "pods.palisade.dev"},
             {"admissionReviewVersions", {"v1"}},
             {"sideEffects", "None"},
             {"failurePolicy", "Fail"},
             {"matchPolicy", "Equivalent"},
             {"timeoutSeconds", 5},
             {"clientConfig", {{"url", "https://127.0.0.1:" + std::to_string(port) + "/validate"}}},
             {"matchConditions",
              {{{"name", "not-exempt"},
                {"expression", "!(request.namespace in ['kube-system', 'palisade-system'])"}}}},
             {"rules",
              {{{"apiGroups", {""}},
                {"apiVersions", {"v1"}},
                {"resources", {"pods"}},
                {"operations", {"CREATE", "UPDATE"}}},
               {{"apiGroups", {""}},
                {"apiVersions", {"v1"}},
                {"resources", {"pods/ephemeralcontainers", "pods/resize"}},
                {"operations", {"UPDATE"}}}}}}}}};
}

// The good pod as somebody makes it by hand: nobody but the operator makes a workspace's.
inline json by_hand() {
  json pod = good_pod();
  pod["metadata"].erase("ownerReferences");
  pod["metadata"]["labels"].erase("palisade.dev/workspace");
  return pod;
}

inline json name_space(const std::string& name, const std::string& enforce = "") {
  json out = {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}}}};
  if (!enforce.empty()) out["metadata"]["labels"] = {{"palisade.dev/enforce", enforce}};
  return out;
}

}  // namespace palisade::webhook::testing
