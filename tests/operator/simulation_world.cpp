#include "operator/simulation_world.h"

#include "operator/fixture.h"

namespace palisade::op::testing {

namespace {

kube::Response status(int code, const char* reason, const char* message) {
  const Json body{{"kind", "Status"}, {"code", code}, {"reason", reason}, {"message", message}};
  return {code, {}, body.dump()};
}

}  // namespace

World::World(Choices& choices, bool tell) : choices_(choices), tell_(tell) {
  api_.now = *parse_time("2026-01-01T12:00:00Z");
  if (tell) api_.note = [this](const std::string& what) { note(what); };
  own_gateway_ = pick(2) == 1;
  has_pools_ = own_gateway_ && pick(2) == 1;
  has_setups_ = !has_pools_ && pick(3) == 2;
  using namespace kube::resources;
  watched_ = {&workspaces(), &kPods, &kServiceAccounts, &kConfigMaps, &kNetworkPolicies};
  if (has_pools_) watched_.insert(watched_.end(), {&pools(), &workspace_templates()});
  if (has_setups_) watched_.push_back(&volume_claims());
  config_.defaults = own_gateway_ ? gateway_defaults() : defaults();
  if (own_gateway_) {
    config_.defaults.gateway->authorities.clear();
    config_.policy.allowed_token_audiences = {gateway().audience};
  }
  heal();
  api_.put("services",
           {{"metadata", {{"namespace", "default"}, {"name", "kubernetes"}}},
            {"spec", {{"clusterIPs", {"10.96.0.1"}}, {"ports", Json::array({{{"port", 443}}})}}}});
  api_.put("services",
           {{"metadata", {{"namespace", "palisade-gateway"}, {"name", "palisade-gateway"}}},
            {"spec",
             {{"clusterIP", "10.96.3.4"},
              {"clusterIPs", {"10.96.3.4"}},
              {"selector", {{"app", "palisade-gateway"}}},
              {"ports", Json::array({{{"port", 8443}, {"targetPort", 8443}}})}}}});
  api_.put("configmaps",
           {{"metadata", {{"namespace", "palisade-gateway"}, {"name", "palisade-gateway-ca"}}},
            {"data", {{"ca.crt", gateway().authorities}}}});
  start(0);
  const int kind = pick(8);
  if (kind > 2) start(1);
  // The Lease keeps no write back that the API server has got already: one that comes late may end
  // what the next leader has kept. It opens no network, and in the end all is as it should be.
  api_.lenient = kind == 7;
}

void World::start(std::size_t number) {
  if (processes_[number]) {
    processes_[number]->dead = true;
    dead_.push_back(processes_[number]);  // frames of it may still be on the stack
  }
  processes_[number] = std::make_shared<Process>(*this, ++processes_made_);
  if (number == leader_) processes_[number]->lead();
}

void World::replace_leader() {
  const std::size_t was = leader_;
  if (processes_[1 - was]) leader_ = 1 - was;
  start(was);
  if (leader_ != was) processes_[leader_]->lead();
}

void World::carry_out_late() {
  const std::vector<Late> late = std::exchange(late_, {});
  for (const Late& one : late) {
    note("late, of operator " + std::to_string(one.number) + ":");
    static_cast<void>(api_.answer(one.request, one.place, one.number));
  }
}

// One look by the one that leads, which may crash in it.
void World::work() {
  const auto process = processes_[leader_];
  try {
    static_cast<void>(process->work());
  } catch (const Crash&) {
  }
}

// What is refused or lost before it reaches the API server.
std::optional<kube::Result<kube::Response>> World::refused(const kube::Request& request,
                                                           const Place& place) {
  const bool write = request.method != "GET";
  switch (pick(6)) {
    case 1:
      note("  refused: 500");
      return status(500, "InternalError", "etcd has no leader");
    case 2: {
      note("  refused: 429");
      auto out = status(429, "TooManyRequests", "later");
      out.headers.emplace_back("Retry-After", "1");
      return out;
    }
    case 3:
      note("  refused: 504");
      return status(504, "Timeout", "not in time");
    case 4:
      if (write && request.method != "POST") {
        note("  refused: 409");
        return status(409, "Conflict", "the object has been modified");
      }
      if (write && place.plural == "pods") {
        note("  refused: 403");
        return status(403, "Forbidden", "exceeded quota");
      }
      return std::nullopt;
    case 5:
      note("  never arrived");
      return std::unexpected(
          kube::Error{0, kube::kTransportReasonClosed, "the connection broke", {}, {}});
    default:
      return std::nullopt;
  }
}

kube::Result<kube::Response> World::exchange(Process& process, const kube::Request& request) {
  if (process.dead) throw Crash{};
  const Place place = ModelApi::place_of(request);
  // What is read once a minute, by the real clock: no choice depends on it.
  if (place.plural == "services" || place.plural == "endpointslices" ||
      place.ns == "palisade-gateway")
    if (place.plural != "secrets") return api_.answer(request, place, process.number);
  if (!troubled_) return api_.answer(request, place, process.number);
  meanwhile(process);
  if (request.method != "GET" && (holds_ ? holds_(request, place) : api_.lenient && happens(5))) {
    note("  on its way as the term ends: " + request.method + " " + request.target);
    late_.push_back({request, place, process.number});
    if (request.method == "DELETE" && place.plural == "pods") ++late_ends_;
    replace_leader();
    throw Crash{};
  }
  const bool trouble = happens(6);
  if (trouble) {
    if (auto out = refused(request, place)) return *out;
  }
  auto out = api_.answer(request, place, process.number);
  meanwhile(process);
  // It was done, and nobody is told.
  if (request.method != "GET" && happens(3)) {
    note("  the answer is lost");
    if (pick(2) == 0) return status(504, "Timeout", "not in time");
    return std::unexpected(
        kube::Error{0, kube::kTransportReasonTimeout, "the answer is lost", {}, {}});
  }
  return out;
}

// Between any two steps of a request.
void World::meanwhile(Process& process) {
  if (depth_ >= 3) return;
  ++depth_;
  if (!late_.empty() && happens(15)) carry_out_late();
  const int what = pick(24);
  const auto kind = [&] {
    return static_cast<std::size_t>(pick(static_cast<int>(watched_.size())));
  };
  switch (what) {
    case 14:
      user();
      break;
    case 15:
      kubelet();
      break;
    case 16:
      meddle();
      break;
    case 17:
      // The watches tell of it before a request that is on its way is answered.
      meddle();
      for (auto& one : processes_) {
        if (one) one->hear_all();
      }
      break;
    case 18:
      for (auto& one : processes_) {
        if (one) one->relist(kind());
      }
      break;
    case 19:
      // Another worker.
      work();
      break;
    case 20:
    case 21:
    case 22:
      for (auto& one : processes_) {
        for (int i = pick(3); one && i >= 0; --i)
          static_cast<void>(one->hear(kind()));
      }
      break;
    case 23:
      if (const int which = pick(3); which == 0 && !process.dead) {
        note("operator " + std::to_string(process.number) + " is killed");
        replace_leader();
      } else if (which == 1 && processes_[1 - leader_]) {
        start(1 - leader_);
      }
      break;
    default:
      break;
  }
  --depth_;
  if (process.dead) throw Crash{};
}

void World::step() {
  switch (pick(12)) {
    case 1:
    case 2:
      user();
      break;
    case 3:
    case 4:
      kubelet();
      break;
    case 5:
      meddle();
      break;
    case 6:
      pass(std::chrono::seconds(std::array{1, 10, 60, 300}[static_cast<std::size_t>(pick(4))]));
      break;
    case 7:
      for (auto& one : processes_) {
        if (one) one->hear_again(static_cast<std::size_t>(pick(static_cast<int>(watched_.size()))));
      }
      break;
    default:
      for (auto& one : processes_) {
        for (int i = pick(8); one && i > 0; --i)
          static_cast<void>(
              one->hear(static_cast<std::size_t>(pick(static_cast<int>(watched_.size())))));
      }
      work();
  }
}

std::string World::run() {
  if (has_pools_) make_pools();
  user();
  const int steps = pick(30);
  for (int i = 0; i < steps && api_.broken.empty(); ++i)
    step();
  if (api_.broken.empty()) {
    if (const std::string why = settle(); !why.empty()) return why;
  }
  return api_.broken;
}

}  // namespace palisade::op::testing
