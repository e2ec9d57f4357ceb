// no-service-account-token: no credential for the API server.
//
// | field                                | allowed                                      |
// | ------------------------------------ | -------------------------------------------- |
// | spec.automountServiceAccountToken    | false                                        |
// | spec.volumes[*].projected.sources[*] |                                              |
// |   .serviceAccountToken.audience      | one of allowedTokenAudiences of the settings |
// |   .podCertificate                    | absent                                       |
// | spec.containers[*].volumeMounts[*],  | no volume with a token: the agent's and      |
// | spec.ephemeralContainers, the same   | whoever joins it hold none; a sidecar may    |
//
// An empty audience is the API server's own. A pod certificate is a client certificate. Of two
// volumes of one name the API server takes none; here one with a token makes the name a token's.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_service_account_token {
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
  std::vector<std::string_view> holders;
  each_item(report, pod.volumes(), [&](const Node& volume) {
    const Node projected = volume["projected"];
    const Node sources = projected["sources"];
    each_item(report, sources, [&](const Node& source) {
      check_source(report, settings, source);
      const Node name = volume["name"];
      const Node token = source["serviceAccountToken"];
      if (!token.absent() && name.text().present()) holders.push_back(name.text().value);
    });
  });
  if (holders.empty()) return;
  for (const Container& container : pod.containers()) {
    if (container.kind == ContainerKind::init) continue;
    each_item(report, container.volume_mounts, [&](const Node& mount) {
      const Node name = mount["name"];
      const auto volume = name.text();
      if (volume.present() && std::ranges::find(holders, volume.value) != holders.end()) {
        report(name,
               "is a volume with a ServiceAccount token: only a sidecar may hold one, in place of "
               "the agent");
      }
    });
  }
}

std::string twin(const Settings& settings) {
  std::vector<std::string> audiences;
  for (const std::string& audience : settings.allowed_token_audiences) {
    if (!audience.empty()) audiences.push_back(audience);
  }
  return cel::where("variables.spec.?automountServiceAccountToken.orValue(true)",
                    "spec.automountServiceAccountToken") +
         " + " +
         cel::volumes(
             "has(v.v.projected) && v.v.projected.?sources.orValue([]) != null && "
             "v.v.projected.?sources.orValue([]).exists(s, has(s.podCertificate) || "
             "(has(s.serviceAccountToken) && "
             "!(s.serviceAccountToken.?audience.orValue('') in " +
                 cel::list(audiences) + ")))",
             ".projected.sources") +
         // Whoever holds such a volume, by its name.
         " + [variables.volumes.filter(v, has(v.v.projected) && "
         "v.v.projected.?sources.orValue([]) != null && "
         "v.v.projected.?sources.orValue([]).exists(s, has(s.serviceAccountToken)))"
         ".map(v, v.v.name)].map(tokens, " +
         cel::containers(
             "!k.at.startsWith('spec.initContainers') && "
             "k.c.?volumeMounts.orValue([]) != null && "
             "k.c.?volumeMounts.orValue([]).exists(m, m.name in tokens)",
             ".volumeMounts") +
         ")[0]";
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No token for the API server",
    .why =
        "A ServiceAccount token is a login to the cluster that an injected agent can use or send "
        "away.",
    .remedy =
        "set spec.automountServiceAccountToken: false, project no token but for an allowed "
        "audience, "
        "and mount that in a sidecar (an init container with restartPolicy Always), never in the "
        "agent's container",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_service_account_token
