#include "operator/cluster.h"

#include <algorithm>

#include "chart/rights.h"
#include "definitions.h"

namespace palisade::op::testing {

namespace {

using namespace kube::resources;
using kube::Client;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = std::chrono::seconds(40);
constexpr auto kPoll = std::chrono::milliseconds(25);

// Throws: without it no test of the suite means anything.
template <class T>
T must(kube::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  return std::move(*result);
}

Json object(const kube::Resource& resource, const std::string& name, Json rest = Json::object()) {
  rest["apiVersion"] = resource.api_version();
  rest["kind"] = resource.kind;
  rest["metadata"]["name"] = name;
  return rest;
}

// The LLM gateway is a Service, and the API server has an address outside the cluster.
void furnish(const Client& admin) {
  must(admin.create(kNamespaces, "", object(kNamespaces, "palisade-system")));
  must(admin.create(kNamespaces, "", object(kNamespaces, "llm")));
  must(
      admin.create(kServices, "llm",
                   object(kServices, "llm",
                          {{"spec",
                            {{"selector", {{"app", "llm"}}},
                             {"ports", Json::array({{{"port", 8080}, {"targetPort", 9090}}})}}}})));
  // Palisade's own gateway, and what it writes as it starts.
  must(admin.create(kNamespaces, "", object(kNamespaces, "palisade-gateway")));
  must(
      admin.create(kServices, "palisade-gateway",
                   object(kServices, "palisade-gateway",
                          {{"spec",
                            {{"selector", {{"app", "palisade-gateway"}}},
                             {"ports", Json::array({{{"port", 8443}, {"targetPort", 8443}}})}}}})));
  must(admin.create(
      kConfigMaps, "palisade-gateway",
      object(kConfigMaps, "palisade-gateway-ca", {{"data", {{"ca.crt", gateway().authorities}}}})));
  must(admin.create(
      kEndpointSlices, "default",
      object(kEndpointSlices, "kubernetes-test",
             {{"metadata", {{"labels", {{"kubernetes.io/service-name", "kubernetes"}}}}},
              {"addressType", "IPv4"},
              {"endpoints", Json::array({{{"addresses", {"198.51.100.7"}}}})},
              {"ports", Json::array({{{"port", 6443}}})}})));
}

}  // namespace

Recorder::Recorder(std::shared_ptr<const Client> client, const std::string& ns) {
  for (const kube::Resource* resource :
       {&kPods, &kNetworkPolicies, &kSecrets, &kConfigMaps, &kServiceAccounts}) {
    kube::ListOptions list;
    list.ns = ns;
    const auto page = must(client->list(*resource, list));
    threads_.emplace_back(
        [this, client, resource, ns, from = page.resource_version](const std::stop_token& stop) {
          kube::WatchOptions options;
          options.ns = ns;
          options.resource_version = from;
          const auto ended = client->watch(
              *resource, options,
              [&](kube::WatchEvent event) {
                if (event.type == kube::WatchEventType::kBookmark) return true;
                const std::scoped_lock lock(mutex_);
                changes_.push_back(
                    {std::stoull(event.object["metadata"]["resourceVersion"].get<std::string>()),
                     event.type, resource->kind, std::move(event.object)});
                return true;
              },
              stop);
          if (!ended && !stop.stop_requested())
            ADD_FAILURE() << resource->kind << ": " << ended.error().text();
        });
  }
}

std::vector<Change> Recorder::changes() const {
  const std::scoped_lock lock(mutex_);
  std::vector<Change> out = changes_;
  std::ranges::sort(out, {}, &Change::version);
  return out;
}

std::uint64_t Recorder::first(const std::string& kind, kube::WatchEventType type,
                              const std::function<bool(const Json&)>& which) const {
  for (const Change& change : changes()) {
    if (change.kind == kind && change.type == type && which(change.object)) return change.version;
  }
  return 0;
}

void ControllerTest::SetUpTestSuite() {
  kube::EnvTestOptions options;
  // blockOwnerDeletion needs a right of its own where clusters check it.
  options.apiserver_flags = {"--enable-admission-plugins=OwnerReferencesPermissionEnforcement"};
  auto started = kube::EnvTest::start(options);
  ASSERT_TRUE(started) << started.error().text();
  env_ = std::move(*started);
  const auto installed = install_definitions(
      *env_,
      {"agentworkspaces", "agentpolicies", "agentworkspacetemplates", "agentworkspacepools"});
  ASSERT_TRUE(installed) << installed.error().text();
  admin_ = Client::connect(env_->config(), Client::TransportKind::kBeast);
  furnish(*admin_);
  const auto missing =
      chart::testing::grant(*admin_, chart::testing::objects(), "palisade-operator");
  ASSERT_TRUE(missing.empty()) << *missing.begin();
  operator_config_ =
      chart::testing::as_account(*env_, *admin_, "palisade-system", "palisade-operator");
  registry_ = std::make_unique<prometheus::Registry>();
  controller_ = make_controller(*registry_);
  controller_->start();
}

void ControllerTest::TearDownTestSuite() {
  controller_.reset();
  registry_.reset();
  admin_.reset();
  env_.reset();
}

void ControllerTest::SetUp() {
  ASSERT_TRUE(controller_);
  static int count = 0;
  ns_ = "team-" + std::to_string(++count);
  ASSERT_TRUE(admin_->create(kNamespaces, "", object(kNamespaces, ns_)));
}

ControllerOptions ControllerTest::usual_options() {
  ControllerOptions options;
  options.config.defaults = gateway_defaults();
  options.config.defaults.gateway->authorities.clear();
  options.config.policy.allowed_token_audiences = {gateway().audience};
  options.gateways = {{"default", "http://llm.llm.svc:8080/v1"},
                      {"own", gateway().llm_url()},
                      {"api", "https://kubernetes.default.svc/v1"}};
  options.unreachable = {"palisade-system/palisade-webhook"};
  options.resolver =
      [](const std::string& host) -> std::expected<std::vector<std::string>, std::string> {
    if (host == "git.example.com") return std::vector<std::string>{"192.0.2.10"};
    if (host == "api.example.com") return std::vector<std::string>{"198.51.100.7"};
    return std::unexpected("no such host");
  };
  return options;
}

std::unique_ptr<Controller> ControllerTest::make_controller(prometheus::Registry& registry,
                                                            ControllerOptions options) {
  return std::make_unique<Controller>(
      Client::connect(operator_config_, Client::TransportKind::kBeast), std::move(options),
      registry);
}

Json ControllerTest::workspace(const std::string& name) const {
  Json out = usual_workspace();
  out["metadata"] = {{"name", name}, {"namespace", ns_}};
  out["spec"]["repository"]["via"] = "Direct";
  return out;
}

Json ControllerTest::through_gateway(const std::string& name) const {
  Json out = workspace(name);
  out["spec"]["repository"].erase("via");
  out["spec"]["llm"]["gateway"] = "own";
  return out;
}

void ControllerTest::make_secret(const std::string& token, const std::string& name) {
  make(kSecrets, object(kSecrets, name, {{"stringData", {{"token", token}}}}));
}

Json ControllerTest::make(const Json& workspace) {
  return make(workspaces(), workspace);
}

Json ControllerTest::make(const kube::Resource& resource, Json object) {
  object["metadata"]["namespace"] = ns_;
  return must(admin_->create(resource, ns_, object));
}

Json ControllerTest::find(const kube::Resource& resource, const std::string& name) const {
  auto found = admin_->get(resource, ns_, name);
  if (!found && found.error().is_not_found()) return nullptr;
  return must(std::move(found));
}

Json ControllerTest::status(const std::string& name) const {
  const Json found = find(workspaces(), name);
  return found.is_null() ? Json::object() : found.value("status", Json::object());
}

Json ControllerTest::condition(const std::string& type, const std::string& name) const {
  for (const Json& entry : status(name).value("conditions", Json::array())) {
    if (entry.at("type") == type) return entry;
  }
  return {{"status", ""}, {"reason", ""}, {"message", ""}};
}

bool ControllerTest::told(const std::string& reason, const std::string& name) const {
  kube::ListOptions list;
  list.ns = ns_;
  const auto events = must(admin_->list(kEvents, list));
  return std::ranges::any_of(events.items, [&](const Json& event) {
    return event.value("reason", "") == reason && event.at("regarding").value("name", "") == name;
  });
}

Json ControllerTest::patch(const kube::Resource& resource, const std::string& name,
                           const Json& change, const std::string& subresource) {
  return must(admin_->patch(resource, ns_, name, kube::PatchType::kMerge, change, subresource));
}

void ControllerTest::nudge(const std::string& name) {
  static int count = 0;
  patch(workspaces(), name,
        {{"metadata", {{"annotations", {{"test/nudge", std::to_string(++count)}}}}}});
}

void ControllerTest::remove(const kube::Resource& resource, const std::string& name, bool at_once) {
  kube::DeleteOptions options;
  if (at_once) options.grace_period_seconds = 0;
  const auto gone = admin_->remove(resource, ns_, name, options);
  if (!gone) throw std::runtime_error(gone.error().text());
}

void ControllerTest::eventually(const std::string& what, const std::function<bool()>& holds) const {
  const auto deadline = Clock::now() + kPatience;
  while (!holds()) {
    if (Clock::now() > deadline)
      throw std::runtime_error("waited in vain: " + what + "; status " + status().dump(2));
    std::this_thread::sleep_for(kPoll);
  }
}

void ControllerTest::await_condition(const std::string& type, const std::string& value,
                                     const std::string& reason, const std::string& name) const {
  eventually(type + "=" + value + " (" + reason + ")", [&] {
    const Json found = condition(type, name);
    return found["status"] == value && found["reason"] == reason;
  });
}

Json ControllerTest::await_pod(const std::string& name, const std::string& not_uid) {
  Json found;
  eventually("pod " + name, [&] {
    found = pod(name);
    return !found.is_null() && found["metadata"]["uid"] != not_uid &&
           !found["spec"].contains("schedulingGates");
  });
  return found;
}

void ControllerTest::bind(const std::string& name) {
  const kube::Resource binding{"", "v1", "pods/" + name + "/binding", "Binding", true};
  must(admin_->create(
      binding, ns_,
      object(binding, name,
             {{"target", {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", "node-1"}}}})));
}

void ControllerTest::set_status(const Json& status, const std::string& name) {
  patch(kPods, name, {{"status", status}}, "status");
}

void ControllerTest::run(const std::string& name) {
  set_status({{"phase", "Running"},
              {"startTime", format_time(std::chrono::system_clock::now())},
              {"containerStatuses",
               Json::array({{{"name", "aider"},
                             {"image", "i"},
                             {"imageID", "i"},
                             {"ready", true},
                             {"restartCount", 0},
                             {"state", {{"running", {{"startedAt", "2026-01-01T10:00:05Z"}}}}}}})}},
             name);
}

void ControllerTest::end(const std::string& phase, const std::string& report,
                         const std::string& name) {
  const auto ended = [](const char* container, const std::string& message) {
    return Json{
        {"name", container},
        {"image", "i"},
        {"imageID", "i"},
        {"ready", false},
        {"restartCount", 0},
        {"state",
         {{"terminated", {{"exitCode", 0}, {"reason", "Completed"}, {"message", message}}}}}};
  };
  set_status({{"phase", phase},
              {"initContainerStatuses", Json::array({ended("courier", report)})},
              {"containerStatuses", Json::array({ended("aider", "")})}},
             name);
}

}  // namespace palisade::op::testing
