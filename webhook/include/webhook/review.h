// AdmissionReview bytes in, response bytes out: pure, and everything that is not understood is
// denied. Source:
// https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <webhook/cluster_view.h>

namespace palisade::webhook {

// A HardeningException that was used.
struct ExceptionUse {
  std::shared_ptr<const policy::HardeningException> exception;
  std::string controls;  // their ids, with commas
};

struct Outcome {
  int status = 200;  // HTTP; 400 where the body is no review, with a text body
  std::string body;
  // For metrics, logs and events.
  bool allowed = false;
  bool is_agent = false;
  bool dry_run = false;
  std::string_view operation;  // CREATE, UPDATE, ... or "" (points into a static text)
  // What was found and what became of it: ids of controls, each once. They live as long as
  // policy::controls().
  std::vector<std::string_view> denied_controls;
  std::vector<std::string_view> warned_controls;
  std::vector<std::string_view> audited_controls;
  std::vector<ExceptionUse> exceptions;
  std::string subject;   // of what is denied or excepted: operation, namespace, name and user
  std::string request;   // the review's uid
  std::string resource;  // such as pods/exec
  // Of what is denied: where the object is.
  std::string ns;
  std::string name;
};

// Every request of the API that is judged; any other is denied, since only what is judged is asked
// for.
struct JudgedResource {
  std::string_view group, resource, subresource;
};
[[nodiscard]] std::vector<JudgedResource> judged_resources();

// Validation. `now`: seconds since 1970. Thread-safe; each thread keeps a parser of its own.
[[nodiscard]] Outcome review(std::string_view body, const ClusterView& cluster, std::int64_t now);

// The mutating side: records who creates an AgentWorkspace. The same contract.
[[nodiscard]] Outcome mutate(std::string_view body, const ClusterView& cluster, std::int64_t now);

}  // namespace palisade::webhook
