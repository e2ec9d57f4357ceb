#include "operator/chaos_world.h"

#include <algorithm>
#include <csignal>
#include <fstream>
#include <stdexcept>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "definitions.h"
#include "operator/fixture.h"

namespace palisade::op::testing {

using namespace kube::resources;
using kube::Json;

namespace {

Json object(const kube::Resource& resource, const std::string& name, Json rest = Json::object()) {
  rest["apiVersion"] = resource.api_version();
  rest["kind"] = resource.kind;
  rest["metadata"]["name"] = name;
  return rest;
}

template <class T>
T must(kube::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().text());
  return std::move(*result);
}

}  // namespace

std::string slurp(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

Json stage_workspace(const std::string& name) {
  Json out = usual_workspace();
  out["metadata"] = {{"name", name}, {"namespace", Stage::kNs}};
  out["spec"]["repository"]["url"] = "https://192.0.2.10/team/app.git";
  out["spec"]["lifecycle"]["maxRestarts"] = 10;
  return out;
}

Stage::Stage() : env(must(kube::EnvTest::start())) {
  if (auto done = install_definitions(*env, {"agentworkspaces", "agentpolicies",
                                             "agentworkspacetemplates", "agentworkspacepools"});
      !done)
    throw std::runtime_error(done.error().text());
  admin = kube::Client::connect(env->config(), kube::Client::TransportKind::kBeast);
  must(admin->create(kNamespaces, "", object(kNamespaces, kNs)));
  must(admin->create(kSecrets, kNs,
                     object(kSecrets, "app-git-token", {{"stringData", {{"token", "token-1"}}}})));
  directory_ = std::filesystem::path(env->kubeconfig_path()).parent_path();
}

std::unique_ptr<ChaosProxy> Stage::proxy(std::uint64_t seed) const {
  kube::TransportOptions direct;
  direct.base_url = env->config().server;
  direct.tls_material = env->config().tls_material;
  return std::make_unique<ChaosProxy>(kube::make_beast_transport(direct), seed);
}

std::unique_ptr<OperatorProcess> Stage::program(const ChaosProxy& proxy,
                                                const std::vector<std::string>& more,
                                                std::uint16_t metrics_port) const {
  const std::string port = std::to_string(proxy.port());
  const std::string kubeconfig = directory_ / (port + ".kubeconfig");
  const Json config{
      {"apiVersion", "v1"},
      {"kind", "Config"},
      {"current-context", "proxy"},
      {"clusters",
       Json::array({{{"name", "proxy"}, {"cluster", {{"server", "http://127.0.0.1:" + port}}}}})},
      {"users", Json::array({{{"name", "proxy"}, {"user", Json::object()}}})},
      {"contexts",
       Json::array({{{"name", "proxy"}, {"context", {{"cluster", "proxy"}, {"user", "proxy"}}}}})}};
  std::ofstream(kubeconfig) << config.dump();
  const auto program =
      std::filesystem::canonical("/proc/self/exe").parent_path() / "palisade-operator";
  if (!std::filesystem::exists(program)) throw std::runtime_error(program.string() + " is missing");
  std::vector<std::string> arguments{program,
                                     "--kubeconfig",
                                     kubeconfig,
                                     "--agent-image=registry.example.com/aider:1",
                                     "--courier-image=registry.example.com/control:1",
                                     "--llm-gateway=default=http://192.0.2.77:8080/v1",
                                     "--metrics-address=127.0.0.1",
                                     "--metrics-port=" + std::to_string(metrics_port)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return std::make_unique<OperatorProcess>(std::move(arguments), directory_ / "operator.log");
}

std::string Stage::log() const {
  return slurp(directory_ / "operator.log");
}

std::string Stage::wrong() const {
  const auto list = [&](const kube::Resource& resource) {
    kube::ListOptions options;
    options.ns = kNs;
    auto page = admin->list(resource, options);
    return page ? std::move(page->items) : std::vector<Json>{Json::object()};
  };
  std::map<std::string, Json> wanted;
  for (Json& one : list(workspaces())) {
    if (!one.contains("metadata") || one["metadata"].contains("deletionTimestamp"))
      return "a workspace has not ended";
    const std::string uid = one["metadata"]["uid"];
    wanted[uid] = std::move(one);
  }
  std::map<std::string, std::map<std::string, Json>> made;  // by owner and kind
  for (const kube::Resource* resource :
       {&kPods, &kNetworkPolicies, &kConfigMaps, &kServiceAccounts, &kSecrets}) {
    for (Json& one : list(*resource)) {
      if (!one.contains("metadata")) return "no answer";
      const Json owners = one["metadata"].value("ownerReferences", Json::array());
      if (owners.empty()) continue;
      const std::string owner = owners[0]["uid"];
      if (!wanted.contains(owner)) return "an orphan: " + resource->kind;
      if (!made[owner].emplace(resource->kind, std::move(one)).second)
        return "doubled: " + resource->kind;
    }
  }
  for (auto& [uid, workspace] : wanted) {
    const std::string name = workspace["metadata"]["name"];
    const Json& spec = workspace["spec"];
    const bool suspended = spec.value("lifecycle", Json::object()).value("suspend", false);
    const std::string phase = workspace.value("status", Json::object()).value("phase", "");
    auto& own = made[uid];
    if (phase != (suspended ? "Suspended" : "Running")) return name + " is " + phase;
    if (own.contains("Pod") == suspended || own.contains("Secret") == suspended)
      return name + ": pod or token are not as suspend says";
    if (suspended) continue;
    const Json asked = spec.value("isolation", Json::object()).value("egress", Json::array());
    const Json& open = own["NetworkPolicy"]["spec"]["egress"];
    if (open.size() != asked.size() + 2) return name + ": another network than asked for";
    for (const Json& rule : asked) {
      if (std::ranges::find(open, rule) == open.end()) return name + ": not open: " + rule.dump();
    }
    const std::string model = spec.value("agent", Json::object()).value("model", "gpt-4o");
    if (own["Pod"]["spec"].dump().find(model) == std::string::npos)
      return name + ": a pod of another spec";
  }
  return {};
}

void OperatorProcess::start() {
  std::vector<char*> words;
  words.reserve(arguments_.size() + 1);
  for (const std::string& word : arguments_)
    words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const int log = open(log_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) throw std::runtime_error(log_ + " cannot be written");
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(log, 1);
    dup2(log, 2);
    execv(words[0], words.data());
    _exit(127);
  }
  close(log);
}

bool OperatorProcess::kill() {
  if (pid_ <= 0) return true;
  ::kill(pid_, SIGKILL);
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFSIGNALED(status);
}

void OperatorProcess::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

int OperatorProcess::await_end(std::chrono::milliseconds patience) {
  const auto until = std::chrono::steady_clock::now() + patience;
  for (int status = 0; pid_ > 0; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    if (std::chrono::steady_clock::now() > until) break;
  }
  return -1;
}

Kubelet::Kubelet(std::shared_ptr<const kube::Client> client) : client_(std::move(client)) {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto pods = client_->list(kPods, {}, stop);
      if (pods) {
        for (const Json& pod : pods->items)
          look(pod, stop);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(40));
    }
  });
}

// Errors are left to the next look: the API server comes and goes.
void Kubelet::look(const Json& pod, const std::stop_token& stop) const {
  const Json& metadata = pod["metadata"];
  const std::string ns = metadata["namespace"];
  const std::string name = metadata["name"];
  if (metadata.contains("deletionTimestamp")) {
    kube::DeleteOptions options;
    options.uid = metadata["uid"];
    options.grace_period_seconds = 0;
    static_cast<void>(client_->remove(kPods, ns, name, options, stop));
    return;
  }
  if (pod["spec"].contains("schedulingGates")) return;
  if (!pod["spec"].contains("nodeName")) {
    const kube::Resource bindings{"", "v1", "pods/" + name + "/binding", "Binding", true};
    static_cast<void>(client_->create(bindings, ns,
                                      {{"apiVersion", "v1"},
                                       {"kind", "Binding"},
                                       {"metadata", {{"name", name}, {"uid", metadata["uid"]}}},
                                       {"target", {{"kind", "Node"}, {"name", "node-1"}}}},
                                      stop));
    return;
  }
  if (pod["status"].value("phase", "") == "Running") return;
  const auto runs = [](const char* container) {
    return Json{
        {"name", container}, {"ready", true},
        {"restartCount", 0}, {"image", ""},
        {"imageID", ""},     {"state", {{"running", {{"startedAt", "2026-01-01T00:00:00Z"}}}}}};
  };
  const Json annotations = metadata.value("annotations", Json::object());
  Json status;
  if (metadata["labels"].contains(kPoolLabel)) {
    // It waits, with all but the agent's container running.
    if (pod["status"].contains("initContainerStatuses")) return;
    status["phase"] = "Pending";
    for (const char* container : {"recorder", "relay", "courier", "checkout"})
      status["initContainerStatuses"].push_back(runs(container));
  } else if (annotations.contains(kShapeAnnotation) &&
             !annotations.contains(kDeliveredAnnotation)) {
    return;
  } else {
    status["phase"] = "Running";
    status["containerStatuses"].push_back(runs("aider"));
  }
  if (!pod["status"].contains("startTime"))
    status["startTime"] = format_time(std::chrono::system_clock::now());
  const Json change{{"metadata", {{"uid", metadata["uid"]}}}, {"status", std::move(status)}};
  static_cast<void>(
      client_->patch(kPods, ns, name, kube::PatchType::kMerge, change, "status", stop));
}

Watcher::Watcher(std::shared_ptr<const kube::Client> client) {
  for (const kube::Resource* resource : {&kPods, &kNetworkPolicies, &kSecrets}) {
    const std::string kind = resource->kind;
    kube::EventHandler handler;
    handler.on_add = [this, kind](const kube::ObjectPtr& object) { note(kind, false, object); };
    handler.on_update = [this, kind](const kube::ObjectPtr&, const kube::ObjectPtr& object) {
      note(kind, false, object);
    };
    handler.on_delete = [this, kind](const kube::ObjectPtr& object) { note(kind, true, object); };
    kube::ReflectorOptions options;
    options.backoff_initial = std::chrono::milliseconds(50);
    options.backoff_max = std::chrono::milliseconds(500);
    watches_.push_back(std::make_unique<kube::Reflector>(client, *resource, options, handler));
    watches_.back()->start();
    if (!watches_.back()->wait_for_sync(std::chrono::seconds(30)))
      throw std::runtime_error("the watcher sees no " + resource->plural);
  }
  begun_ = true;
}

Watcher::~Watcher() {
  for (const auto& watch : watches_)
    watch->stop();
}

void Watcher::note(const std::string& kind, bool gone, const kube::ObjectPtr& object) {
  // What was there before is where it begins, in whatever order it was made.
  const std::uint64_t version =
      begun_ ? std::stoull((*object)["metadata"]["resourceVersion"].get<std::string>()) : 0;
  const std::scoped_lock lock(mutex_);
  changes_.emplace(version, Change{kind, gone, object});
}

std::size_t Watcher::seen() const {
  const std::scoped_lock lock(mutex_);
  return changes_.size();
}

namespace {

std::string owner_of(const Json& object) {
  const Json owners = object["metadata"].value("ownerReferences", Json::array());
  return owners.empty() ? std::string() : owners[0].value("uid", "");
}

bool may_run(const Json& pod) {
  const std::string phase = pod["status"].value("phase", "");
  return !pod["spec"].contains("schedulingGates") && phase != "Succeeded" && phase != "Failed";
}

}  // namespace

std::string Watcher::verdict() const {
  const std::scoped_lock lock(mutex_);
  std::map<std::string, std::map<std::string, kube::ObjectPtr>> held;  // kind, key
  std::map<std::string, Json> open;  // what a pod that may run may reach, by its uid
  for (const auto& [version, change] : changes_) {
    const std::string key = kube::object_key(*change.object);
    const std::string where = key + " at version " + std::to_string(version) + ": ";
    if (change.gone) {
      held[change.kind].erase(key);
    } else {
      held[change.kind][key] = change.object;
    }
    if (version == 0) continue;
    if (change.kind == "Secret") {
      const std::string owner = owner_of(*change.object);
      for (const auto& [name, pod] : held["Pod"]) {
        if (change.gone && !owner.empty() && owner_of(*pod) == owner && may_run(*pod))
          return where + "a token was taken away before its pod";
      }
      continue;
    }
    const auto pod = held["Pod"].find(key);
    if (pod == held["Pod"].end() || !may_run(*pod->second)) continue;
    const auto policy = held["NetworkPolicy"].find(key);
    if (policy == held["NetworkPolicy"].end()) return where + "a pod lives without its policy";
    const Json& spec = (*policy->second)["spec"];
    if (spec["policyTypes"] != Json({"Ingress", "Egress"}) || spec.contains("ingress"))
      return where + "the policy does not deny all";
    const auto [before, first] = open.emplace((*pod->second)["metadata"]["uid"], spec["egress"]);
    if (first) continue;
    for (const Json& rule : spec["egress"]) {
      if (std::ranges::find(before->second, rule) == before->second.end())
        return where + "a live pod's network has grown by " + rule.dump();
    }
    before->second = spec["egress"];
  }
  return {};
}

}  // namespace palisade::op::testing
