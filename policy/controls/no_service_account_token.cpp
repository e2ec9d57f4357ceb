// no-service-account-token: no credential for the API server.
//
// | field                                | allowed                                      |
// | ------------------------------------ | -------------------------------------------- |
// | spec.automountServiceAccountToken    | false                                        |
// | spec.volumes[*].projected.sources[*] |                                              |
// |   .serviceAccountToken.audience      | one of allowedTokenAudiences of the settings |
// |   .podCertificate                    | absent                                       |
//
// An empty audience is the API server's own. A pod certificate is a client certificate.
#include <algorithm>
#include <array>
#include <string_view>

#include "controls.h"
#include "report.h"

namespace palisade::policy::table {
namespace {

constexpr std::string_view kId = "no-service-account-token";
constexpr std::array kReferences{
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.1.6"),
    std::string_view(
        "NSA/CISA Kubernetes Hardening Guidance 1.2: protecting pod service account tokens"),
    std::string_view("SOC 2: CC6.1"),
};

void check_source(Report& report, const Settings& settings, const Node& source) {
  const Node token = source["serviceAccountToken"];
  if (!token.absent()) {
    const Node audience = token["audience"];
    const auto name = audience.text();
    if (name.broken()) {
      report.wrong_type(audience, "one of the audiences that the settings allow");
    } else if (name.value.empty()) {
      report(audience, "is the API server's own audience: the token logs in to the cluster");
    } else if (std::ranges::find(settings.allowed_token_audiences, name.value) ==
               settings.allowed_token_audiences.end()) {
      report(audience,
             "is not among the audiences that the settings allow (allowedTokenAudiences)");
    }
  }
  const Node certificate = source["podCertificate"];
  if (certificate.present()) {
    report(certificate, "gives the pod a client certificate of its own");
  }
}

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  const Node automount = pod.spec()["automountServiceAccountToken"];
  const auto value = automount.boolean();
  if (value.broken()) {
    report.wrong_type(automount, "false");
  } else if (!value.is(false)) {
    report(automount, "must be false: otherwise each container gets a token for the API server");
  }
  each_item(report, pod.volumes(), [&](const Node& volume) {
    const Node projected = volume["projected"];
    const Node sources = projected["sources"];
    each_item(report, sources, [&](const Node& source) { check_source(report, settings, source); });
  });
}

}  // namespace

const Control no_service_account_token{
    .id = kId,
    .title = "No token for the API server",
    .why =
        "A ServiceAccount token is a login to the cluster that an injected agent can use or send "
        "away.",
    .remedy =
        "set spec.automountServiceAccountToken: false and project no token but for an allowed "
        "audience",
    .references = kReferences,
    .check = check,
};

}  // namespace palisade::policy::table
