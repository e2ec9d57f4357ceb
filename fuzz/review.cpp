// Any bytes for a review, under every mode of the namespace: an answer for this request that is
// JSON, or a 400; and nothing allowed that the policy refuses.
#include <policy/network.h>
#include <webhook/review.h>

#include "fuzz/json_mutator.h"

namespace {

using namespace palisade;
using simdjson::dom::element;
using webhook::Lookup;
using webhook::Mode;

struct Read {
  simdjson::dom::parser parser;
  element root;
  bool good = false;
  explicit Read(std::string_view text) {
    const simdjson::padded_string padded(text);
    good = parser.parse(padded).get(root) == simdjson::SUCCESS;
  }
};

std::string_view text_of(const simdjson::simdjson_result<element>& value) {
  std::string_view out;
  return value.get(out) == simdjson::SUCCESS ? out : std::string_view();
}

constexpr std::int64_t kNow = 1'800'000'000;

// A namespace with one workspace, its pod and a NetworkPolicy that closes it; or, `broken`, one of
// which nothing can be known.
class World : public webhook::ClusterView {
 public:
  World(Mode mode, webhook::Action action, bool broken) : broken_(broken) {
    auto rules = std::make_shared<webhook::NamespaceRules>();
    rules->mode = mode;
    rules->action = action;
    rules_ = std::move(rules);
    principals_.operator_user = "system:serviceaccount:palisade-system:palisade-operator";
    principals_.webhook_user = "system:serviceaccount:palisade-system:palisade-webhook";
    workspace_.ns = pod_.ns = "team-a";
    workspace_.name = pod_.workspace = "w";
    workspace_.uid = "u";
    workspace_.created_by = "jane";
    pod_.name = "w-agent";
    pod_.uid = "p";
    pod_.labels = {{"palisade.dev/workspace", "w"}, {"palisade.dev/agent", "aider"}};
    pod_.reason = "an AgentWorkspace owns it";
    const Read policy(R"({"metadata": {"name": "w-agent", "namespace": "team-a"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}})");
    auto parsed = policy::NetworkPolicy::parse(policy.root);
    fuzz::check(parsed.has_value(), "the world's own NetworkPolicy is read");
    policies_.push_back(std::make_shared<const policy::NetworkPolicy>(std::move(*parsed)));
    const Read fixed(R"({"metadata": {"name": "t", "uid": "t", "generation": 1}, "spec": {
        "workspace": {"agent": {"model": "m"}, "isolation": {"egress": []}}, "overridable": ["agent.model"]}})");
    auto given = policy::WorkspaceTemplate::parse(fixed.root);
    fuzz::check(given.has_value(), "the world's own template is read");
    template_ = std::make_shared<const policy::WorkspaceTemplate>(std::move(*given));
  }

  [[nodiscard]] const webhook::Principals& principals() const override { return principals_; }
  [[nodiscard]] Lookup<std::shared_ptr<const webhook::NamespaceRules>> rules(
      std::string_view /*ns*/) const override {
    return known(rules_);
  }
  [[nodiscard]] Lookup<std::vector<webhook::WorkspaceFacts>> workspaces(
      std::string_view /*ns*/) const override {
    return known(std::vector{workspace_});
  }
  [[nodiscard]] Lookup<std::optional<webhook::WorkspaceFacts>> workspace(
      std::string_view /*ns*/, std::string_view name) const override {
    return known(name == "w" ? std::optional(workspace_) : std::nullopt);
  }
  [[nodiscard]] Lookup<std::shared_ptr<const policy::WorkspaceTemplate>> workspace_template(
      std::string_view /*ns*/, std::string_view /*name*/) const override {
    return known(template_);
  }
  [[nodiscard]] Lookup<std::vector<webhook::AgentPod>> agent_pods(
      std::string_view /*ns*/) const override {
    return known(std::vector{pod_});
  }
  [[nodiscard]] Lookup<std::optional<webhook::AgentPod>> pod(std::string_view /*ns*/,
                                                             std::string_view name) const override {
    return known(name == "none" ? std::nullopt : std::optional(pod_));
  }
  [[nodiscard]] Lookup<std::vector<std::shared_ptr<const policy::NetworkPolicy>>> network_policies(
      std::string_view /*ns*/, bool /*live*/) const override {
    return known(policies_);
  }
  [[nodiscard]] Lookup<std::string> signature_problem(
      const policy::ImageToVerify& /*image*/,
      const policy::SignatureRule& /*rule*/) const override {
    return known(std::string("none of the rule's keys signed it"));
  }

 private:
  template <class T>
  [[nodiscard]] Lookup<T> known(T value) const {
    if (broken_) return std::unexpected(std::string("the API server does not answer"));
    return value;
  }

  const bool broken_;
  webhook::Principals principals_;
  std::shared_ptr<const webhook::NamespaceRules> rules_;
  webhook::WorkspaceFacts workspace_;
  webhook::AgentPod pod_;
  std::vector<std::shared_ptr<const policy::NetworkPolicy>> policies_;
  std::shared_ptr<const policy::WorkspaceTemplate> template_;
};

// What is allowed in a namespace that enforces agents: no agent pod with findings that the old
// object does not have too.
void check_allowed(const element& request, const webhook::Outcome& outcome) {
  static const policy::Settings kSettings;
  element pod;
  const std::string_view operation = text_of(request["operation"]);
  const std::string_view subresource = text_of(request["subResource"]);
  if (text_of(request["resource"]["resource"]) != "pods" ||
      !text_of(request["resource"]["group"]).empty() ||
      (operation != "CREATE" && operation != "UPDATE") ||
      (!subresource.empty() && subresource != "ephemeralcontainers" && subresource != "resize") ||
      request["object"].get(pod) != simdjson::SUCCESS || policy::agent_reason(pod).empty()) {
    return;
  }
  fuzz::check(outcome.is_agent, "an agent pod is known as one", outcome.body);
  const auto findings = policy::evaluate(pod, kSettings);
  if (findings.empty()) return;
  element old;
  fuzz::check(operation == "UPDATE" && request["oldObject"].get(old) == simdjson::SUCCESS,
              "a pod with findings is not let in", outcome.body);
  const auto before = policy::evaluate(old, kSettings);
  for (const policy::Finding& finding : findings) {
    fuzz::check(std::ranges::any_of(before,
                                    [&](const policy::Finding& known) {
                                      return known.control == finding.control &&
                                             known.field == finding.field &&
                                             known.found == finding.found;
                                    }),
                "no update adds a finding", finding.field);
  }
}

// What is read of a request stands there once.
void check_once(const element& request) {
  simdjson::dom::object members;
  if (request.get(members) != simdjson::SUCCESS) return;
  for (const std::string_view key : {"uid", "operation", "object", "oldObject", "namespace", "name",
                                     "userInfo", "dryRun", "resource", "subResource"}) {
    const auto times = std::ranges::count_if(
        members, [&](const simdjson::dom::key_value_pair& member) { return member.key == key; });
    fuzz::check(times <= 1, "no review is judged that says something twice", key);
  }
}

void check_answer(std::string_view body, const Read& asked, const webhook::Outcome& outcome) {
  if (outcome.status != 200) {
    fuzz::check(outcome.status == 400 && !outcome.allowed, "what is no review is a 400");
    fuzz::check_shown(outcome.body, 512, true);
    return;
  }
  fuzz::check(asked.good, "only JSON is a review", body);
  if (element request; asked.root["request"].get(request) == simdjson::SUCCESS) check_once(request);
  const Read answer(outcome.body);
  fuzz::check(answer.good, "an answer is JSON", outcome.body);
  fuzz::check(text_of(answer.root["kind"]) == "AdmissionReview" &&
                  text_of(answer.root["apiVersion"]) == "admission.k8s.io/v1",
              "an answer is a review", outcome.body);
  element response;
  fuzz::check(answer.root["response"].get(response) == simdjson::SUCCESS,
              "an answer has a response", outcome.body);
  fuzz::check(text_of(response["uid"]) == text_of(asked.root["request"]["uid"]),
              "an answer is for this request", outcome.body);
  if (simdjson::dom::array warnings; response["warnings"].get(warnings) == simdjson::SUCCESS) {
    for (const element warning : warnings)
      fuzz::check_shown(text_of(simdjson::simdjson_result<element>(element(warning))), 256);
  }
  bool allowed = false;
  fuzz::check(response["allowed"].get(allowed) == simdjson::SUCCESS && allowed == outcome.allowed,
              "an answer says what is counted", outcome.body);
  if (!allowed) {
    std::int64_t code = 0;
    fuzz::check(response["status"]["code"].get(code) == simdjson::SUCCESS && code >= 400 &&
                    !text_of(response["status"]["message"]).empty(),
                "a denial says why", outcome.body);
    fuzz::check_shown(text_of(response["status"]["message"]), 32 * 1024, true);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using webhook::Action;
  static const World kAgents(Mode::kAgents, Action::kEnforce, false);
  static const World kAll(Mode::kAll, Action::kEnforce, false);
  static const World kOff(Mode::kOff, Action::kEnforce, false);
  static const World kWarn(Mode::kAll, Action::kWarn, false);
  static const World kUnknown(Mode::kOff, Action::kAudit, true);
  const std::string_view body = fuzz::view(data, size);
  const Read asked(body);
  const auto ask = [&](const World& world) {
    const auto outcome = webhook::review(body, world, kNow);
    check_answer(body, asked, outcome);
    return outcome;
  };
  const auto agents = ask(kAgents);
  if (agents.status != 200) return 0;
  if (agents.allowed) check_allowed(asked.root["request"], agents);
  const auto all = ask(kAll);
  fuzz::check(agents.allowed || !all.allowed, "whoever enforces all pods refuses no less",
              all.body);
  const auto off = ask(kOff);
  fuzz::check(off.allowed || !agents.allowed, "whoever enforces nothing refuses no more", off.body);
  const auto warn = ask(kWarn);
  fuzz::check(warn.allowed || !all.allowed, "whoever warns refuses no more", warn.body);
  const auto unknown = ask(kUnknown);
  fuzz::check(!unknown.allowed || agents.allowed, "a look-up that failed allows nothing",
              unknown.body);
  check_answer(body, asked, webhook::mutate(body, kAgents, kNow));
  return 0;
}
