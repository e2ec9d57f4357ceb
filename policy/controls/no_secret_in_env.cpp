// no-secret-in-env: Secrets are mounted as files, by the one container that needs them.
//
// | field                                   | allowed |
// | --------------------------------------- | ------- |
// | CONTAINER.env[*].valueFrom.secretKeyRef | absent  |
// | CONTAINER.envFrom[*].secretRef          | absent  |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_secret_in_env {
namespace {

constexpr std::string_view kId = "no-secret-in-env";
constexpr std::array kReferences{
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.4.1"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: protecting pod service account "
                     "tokens and secrets"),
    std::string_view("SOC 2: CC6.1"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    each_item(
        report, container.env,
        [&](const Node& variable) {
          const Node source = variable["valueFrom"];
          const Node secret = source["secretKeyRef"];
          if (secret.broken()) {
            report.wrong_type_masked(secret, "an object");
          } else if (secret.present()) {
            report(secret, "puts a Secret into the environment");
          }
        },
        true);
    each_item(
        report, container.env_from,
        [&](const Node& source) {
          const Node secret = source["secretRef"];
          if (secret.broken()) {
            report.wrong_type_masked(secret, "an object");
          } else if (secret.present()) {
            report(secret, "puts a whole Secret into the environment");
          }
        },
        true);
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers(
             "k.c.?env.orValue([]).exists(e, has(e.valueFrom) && has(e.valueFrom.secretKeyRef))",
             ".env") +
         " + " +
         cel::containers("k.c.?envFrom.orValue([]).exists(e, has(e.secretRef))", ".envFrom");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No Secret in the environment",
    .why =
        "Every child process, every crash dump and every `env` that the agent is talked into "
        "running shows it.",
    .remedy =
        "mount the Secret as a file in the one container that needs it, and not in the agent's",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_secret_in_env
