#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include <policy/network.h>
#include <policy/permissions.h>
#include <policy/selector.h>

#include "permissions_gateway.h"
#include "permissions_give.h"
#include "permissions_guard.h"
#include "permissions_host.h"
#include "permissions_network.h"
#include "permissions_reader.h"

namespace palisade::policy {

namespace {

using simdjson::dom::element;

constexpr std::array kNeverBounded{std::string_view("exec"), std::string_view("filesystem.read"),
                                   std::string_view("config.read"),
                                   std::string_view("network.loopback")};
constexpr std::string_view kTokenPath = "/var/run/secrets/kubernetes.io/serviceaccount";
constexpr std::string_view kCourierFile = "courier.json";

struct Volume {
  std::string name;
  std::string_view type;  // emptyDir, secret, ...; "" where none is given
  element source;
  std::string at;  // pointer in the pod
};

struct Mount {
  std::string path;
  const Volume* volume = nullptr;  // null: the pod has none of that name
  bool read_only = false;
  std::string at;
};

// What the courier does with the repository, from its configuration.
struct Courier {
  std::string url, ref, branch;
  std::string takes_from;  // the directory
  std::string takes;       // what it pushes of it
  bool pushes = false;
  std::string from;
};

class Session {
 public:
  Session(element objects, element pod) : objects_(objects), pod_(pod) {}

  std::expected<Permissions, std::string> read() {
    ns_ = text_at(pod_, "/metadata/namespace");
    name_ = text_at(pod_, "/metadata/name");
    Permissions out;
    out.ns = ns_;
    out.pod = name_;
    each_at(pod_, "/metadata/ownerReferences", [&](element owner, const std::string&) {
      if (text_at(owner, "/kind") == "AgentWorkspace") out.workspace = text_at(owner, "/name");
    });
    if (!pod_.at_pointer("/spec/containers").is_array())
      return std::unexpected("the pod has no spec.containers");
    read_volumes();
    auto network = network_grants(objects_, pod_, pod_name());
    if (!network) return std::unexpected(network.error());
    network_ = std::move(*network);
    for (const auto& [list, role] :
         {std::pair{"containers", "agent"}, std::pair{"ephemeralContainers", "agent"},
          std::pair{"initContainers", "init"}}) {
      each_at(pod_, std::string("/spec/") + list, [&](element container, const std::string& at) {
        const bool sidecar =
            role == std::string_view("init") && text_at(container, "/restartPolicy") == "Always";
        read_container(container, at, sidecar ? "sidecar" : role, out);
      });
    }
    lend_git(out);
    if (auto gateway = gateway_actor(objects_, pod_)) {
      // A name of its own in the document, whatever the pod's containers are called.
      if (std::ranges::find(out.actors, gateway->container, &Actor::container) != out.actors.end())
        gateway->container = "gateway outside the pod";
      out.actors.push_back(std::move(*gateway));
    }
    for (Actor& actor : out.actors)
      std::ranges::sort(actor.capabilities, {}, &Capability::name);
    return out;
  }

 private:
  struct Shared {  // a volume that the courier pushes from
    std::string volume;
    Courier courier;
  };

  [[nodiscard]] std::string pod_name() const { return "Pod " + ns_ + "/" + name_; }
  [[nodiscard]] std::string in_pod(const std::string& pointer) const {
    return pod_name() + " " + pointer;
  }

  void read_volumes() {
    each_at(pod_, "/spec/volumes", [&](element volume, const std::string& at) {
      Volume out{text_at(volume, "/name"), "", volume, at};
      simdjson::dom::object members;
      if (volume.get(members) == simdjson::SUCCESS) {
        for (const auto [key, value] : members) {
          if (key == "name" || value.is_null()) continue;
          out.type = key;
          out.source = value;
        }
      }
      volumes_.push_back(std::move(out));
    });
  }

  [[nodiscard]] const Volume* volume_named(std::string_view name) const {
    const auto found = std::ranges::find(volumes_, name, &Volume::name);
    return found == volumes_.end() ? nullptr : &*found;
  }

  void read_container(element container, const std::string& at, std::string role,
                      Permissions& out) {
    Actor& actor = out.actors.emplace_back();
    actor.container = text_at(container, "/name");
    actor.role = std::move(role);
    std::vector<Mount> mounts;
    each_at(container, "/volumeMounts", [&](element mount, const std::string& here) {
      mounts.push_back({text_at(mount, "/mountPath"), volume_named(text_at(mount, "/name")),
                        bool_at(mount, "/readOnly").value_or(false), at + here});
    });
    guard_ = guard_of(objects_, pod_, container);
    if (guard_ && !guard_->enforces) guard_.reset();
    read_programs(container, at, actor);
    read_root(container, at, actor);
    for (const Mount& mount : mounts)
      read_mount(mount, actor);
    read_runtime_mounts(container, at, mounts, actor);
    each_at(container, "/volumeDevices", [&](element device, const std::string& here) {
      give(actor, "devices", {text_at(device, "/devicePath"), "", in_pod(at + here)});
    });
    environment_grants(container, in_pod(at), actor);
    read_account(at, mounts, actor);
    kernel_grants(pod_, container, in_pod(at), actor);
    host_grants(pod_, container, pod_name(), in_pod(at), actor);
    for (const auto& [capability, grant] : network_) {
      // NetworkPolicies hold for a pod as a whole; guard keeps its container from what is the
      // relay's and the courier's.
      if (!guard_ || guard_reaches(capability)) give(actor, capability, grant);
    }
    read_loopback(actor);
    read_courier(container, mounts, actor);
  }

  // Guard names the programs. Where it does not, an agent may run all that there is: a capability
  // that an AgentPolicy can withhold.
  void read_programs(element container, const std::string& at, Actor& actor) {
    if (!guard_) {
      give(actor, actor.role == "agent" ? "exec.any" : "exec",
           {text_at(container, "/image"), "every program of the image", in_pod(at + "/image")});
      return;
    }
    const std::string from = guard_->from;
    // "build" has what "aider" has.
    if (guard_->profile != "none")
      give(actor, "exec", {"aider, python3, git", "as the image has them", from});
    for (const std::string& program : guard_->allow)
      give(actor, "exec", {program, "", from});
  }

  // What the operator opened the pod's network for.
  [[nodiscard]] bool guard_reaches(std::string_view capability) const {
    const std::string which = capability == "network.egress.llm"       ? "/llm"
                              : capability == "network.egress.gateway" ? "/llm"
                              : capability == "network.egress.git"     ? "/git"
                                                                       : "";
    if (which.empty()) return true;
    std::string address = access_at(which + "/alias");
    if (address.empty()) address = access_at(which + "/host");
    const auto host = parse_cidr(address + (address.contains(':') ? "/128" : "/32"));
    return !host || guard_->may_connect(*host);
  }

  [[nodiscard]] std::string access_at(const std::string& pointer) const {
    const std::string text = text_at(pod_, "/metadata/annotations/palisade.dev~1access");
    simdjson::dom::parser parser;
    const simdjson::padded_string padded(text);
    element access;
    if (text.empty() || parser.parse(padded).get(access) != simdjson::SUCCESS) return {};
    return text_at(access, pointer);
  }

  // The relay's port: what is behind it is the relay's to reach.
  void read_loopback(Actor& actor) const {
    if (!guard_) return;
    const auto loopback = parse_cidr("127.0.0.0/8");
    const std::string url = without_user(access_at("/llmUrl"));
    for (const GuardPeer& peer : guard_->connect) {
      if (!loopback->contains(peer.range)) continue;
      std::string ports = peer.first == 0 ? "all ports" : "TCP/" + std::to_string(peer.first);
      if (peer.last > peer.first) ports += "-" + std::to_string(peer.last);
      give(actor, "network.loopback",
           {peer.text + " " + ports, url.empty() ? "" : "the relay, for " + url, guard_->from});
    }
  }

  void write_at(Actor& actor, const std::string& path, const std::string& detail,
                const std::string& from) const {
    if (guard_ && !guard_->may_write(path)) {
      if (guard_->may_read(path)) give(actor, "filesystem.read", {path, detail, from});
      return;
    }
    give(actor, "filesystem.rw", {path, detail, from});
    if (!guard_)
      give(actor, actor.role == "agent" ? "exec.any" : "exec",
           {path, "what is written there can be executed", from});
  }

  void read_root(element container, const std::string& at, Actor& actor) {
    if (!bool_at(container, "/securityContext/readOnlyRootFilesystem").value_or(false))
      give(actor, "filesystem.rw", {"/", "the image's files", in_pod(at)});
  }

  void read_mount(const Mount& mount, Actor& actor) {
    const std::string from = in_pod(mount.at);
    if (mount.volume == nullptr) {
      write_at(actor, mount.path, "a volume that the pod does not have", from);
      return;
    }
    const Volume& volume = *mount.volume;
    const std::string& path = mount.path;
    if (volume.type == "secret") {
      give(actor, "secret.read",
           {"Secret " + text_at(volume.source, "/secretName"), "at " + path, from});
    } else if (volume.type == "configMap") {
      give(actor, "config.read",
           {"ConfigMap " + text_at(volume.source, "/name"), "at " + path, from});
    } else if (volume.type == "downwardAPI") {
      give(actor, "config.read", {"the pod's own fields", "at " + path, from});
    } else if (volume.type == "projected") {
      read_projected(volume, path, from, actor);
    } else {
      const bool read_only = mount.read_only || volume.type == "image" ||
                             bool_at(volume.source, "/readOnly").value_or(false);
      const std::string detail = described(volume);
      if (read_only) {
        if (!guard_ || guard_->may_read(path)) give(actor, "filesystem.read", {path, detail, from});
      } else {
        write_at(actor, path, detail, from);
      }
      if (volume.type == "hostPath")
        give(actor, "host.files",
             {text_at(volume.source, "/path"), read_only ? "to read" : "to write", from});
    }
  }

  static std::string described(const Volume& volume) {
    std::string out(volume.type.empty() ? "volume" : volume.type);
    out += " ";
    out += volume.name;
    if (volume.type == "persistentVolumeClaim")
      out += ": " + text_at(volume.source, "/claimName") + ", which outlives the pod";
    const std::string limit = text_at(volume.source, "/sizeLimit");
    if (!limit.empty()) out += ", at most " + limit;
    if (text_at(volume.source, "/medium") == "Memory") out += ", in memory";
    return out;
  }

  void read_projected(const Volume& volume, const std::string& path, const std::string& from,
                      Actor& actor) {
    each_at(volume.source, "/sources", [&](element source, const std::string& here) {
      simdjson::dom::object members;
      if (source.get(members) != simdjson::SUCCESS) return;
      const std::string detail = "at " + path + ", from " + volume.at + "/projected" + here;
      for (const auto [kind, value] : members) {
        if (value.is_null()) continue;
        if (kind == "secret") {
          give(actor, "secret.read", {"Secret " + text_at(value, "/name"), detail, from});
        } else if (kind == "configMap") {
          give(actor, "config.read", {"ConfigMap " + text_at(value, "/name"), detail, from});
        } else if (kind == "serviceAccountToken") {
          const std::string audience = text_at(value, "/audience");
          give_token(actor, audience.empty() ? "the API server" : audience, detail, from);
        } else if (kind == "downwardAPI" || kind == "clusterTrustBundle") {
          give(actor, "config.read", {std::string(kind), detail, from});
        } else {
          // A certificate of its own, or what is not known yet.
          give(actor, "kube.api", {std::string(kind), detail, from});
        }
      }
    });
  }

  // The runtime makes these for every container; a mount in the same place takes them away.
  void read_runtime_mounts(element container, const std::string& at,
                           const std::vector<Mount>& mounts, Actor& actor) {
    const auto covered = [&](std::string_view path) {
      return std::ranges::any_of(mounts, [&](const Mount& mount) { return mount.path == path; });
    };
    for (const char* path : {"/dev/shm", "/dev/mqueue"}) {
      if (!covered(path) && (!guard_ || guard_->may_write(path)))
        give(actor, "filesystem.rw", {path, "made by the container runtime", in_pod(at)});
    }
    std::string log = text_at(container, "/terminationMessagePath");
    if (log.empty()) log = "/dev/termination-log";
    if (!covered(log) && !(guard_ && log == "/dev/termination-log"))
      give(actor, "filesystem.rw", {log, "a file for the last message, 4 KiB", in_pod(at)});
  }

  void read_account(const std::string& at, const std::vector<Mount>& mounts, Actor& actor) {
    std::optional<bool> automount = bool_at(pod_, "/spec/automountServiceAccountToken");
    if (!automount) automount = bool_at(objects_, "/serviceAccount/automountServiceAccountToken");
    const bool mounted =
        std::ranges::any_of(mounts, [](const Mount& mount) { return mount.path == kTokenPath; });
    if (automount.value_or(true) && !mounted)
      give_token(actor, "the API server", "mounted by the API server", in_pod(at));
  }

  void give_token(Actor& actor, const std::string& audience, const std::string& detail,
                  const std::string& from) {
    std::string account = text_at(pod_, "/spec/serviceAccountName");
    if (account.empty()) account = "default";
    const bool api = audience == "the API server";
    give(actor, api ? "kube.api" : "identity.token",
         {"token of ServiceAccount " + account + " for " + audience, detail, from});
    if (!api) return;
    each_at(objects_, "/roleBindings", [&](element binding, const std::string&) {
      if (!binds(binding, account)) return;
      const std::string ns = text_at(binding, "/metadata/namespace");
      give(actor, "kube.api",
           {text_at(binding, "/roleRef/kind") + " " + text_at(binding, "/roleRef/name"),
            ns.empty() ? "in the whole cluster" : "in namespace " + ns,
            (ns.empty() ? "ClusterRoleBinding " : "RoleBinding " + ns + "/") +
                text_at(binding, "/metadata/name") + " /roleRef"});
    });
  }

  [[nodiscard]] bool binds(element binding, const std::string& account) const {
    bool out = false;
    each_at(binding, "/subjects", [&](element subject, const std::string&) {
      const std::string kind = text_at(subject, "/kind");
      const std::string name = text_at(subject, "/name");
      std::string ns = text_at(subject, "/namespace");
      if (ns.empty()) ns = text_at(binding, "/metadata/namespace");
      out = out || (kind == "ServiceAccount" && name == account && ns == ns_) ||
            (kind == "Group" &&
             (name == "system:serviceaccounts" || name == "system:serviceaccounts:" + ns_ ||
              name == "system:authenticated")) ||
            (kind == "User" && name == "system:serviceaccount:" + ns_ + ":" + account);
    });
    return out;
  }

  // A container that runs the courier fetches and pushes as its configuration says.
  void read_courier(element container, const std::vector<Mount>& mounts, Actor& actor) {
    element program;
    element verb;
    if (container.at_pointer("/command/0").get(program) != simdjson::SUCCESS ||
        !text_of(program).ends_with("palisade-courier") ||
        container.at_pointer("/command/1").get(verb) != simdjson::SUCCESS ||
        !is_text(verb, "serve")) {
      return;
    }
    for (const Mount& mount : mounts) {
      if (mount.volume == nullptr || mount.volume->type != "configMap") continue;
      const auto courier = configured(text_at(mount.volume->source, "/name"));
      if (!courier) continue;
      give(actor, "git.api", {"fetch " + courier->ref + " of " + courier->url, "", courier->from});
      if (!courier->pushes) continue;
      give(actor, "git.api",
           {"push " + courier->branch + " of " + courier->url, "", courier->from});
      for (const Mount& tree : mounts) {
        const std::string below = tree.path + "/";
        if (tree.volume != nullptr &&
            (courier->takes_from == tree.path || courier->takes_from.starts_with(below)))
          shared_.push_back({tree.volume->name, *courier});
      }
    }
  }

  [[nodiscard]] std::optional<Courier> configured(const std::string& config_map) {
    std::optional<Courier> out;
    each_at(objects_, "/configMaps", [&](element object, const std::string&) {
      if (text_at(object, "/metadata/name") != config_map) return;
      const std::string text = text_at(object, "/data/" + std::string(kCourierFile));
      simdjson::dom::parser parser;
      const simdjson::padded_string padded(text);
      element config;
      if (text.empty() || parser.parse(padded).get(config) != simdjson::SUCCESS) return;
      // Behind the relay it is another one.
      std::string url = text_at(config, "/repositoryUrl");
      if (url.empty()) url = text_at(config, "/url");
      const bool collects = text_at(config, "/mount") == "ReadOnly";
      const std::string from = text_at(config, collects ? "/output" : "/workspace");
      out = Courier{without_user(url),
                    text_at(config, "/ref"),
                    text_at(config, "/branch"),
                    from,
                    collects ? "what is left in " + text_at(config, "/workspace") + "/" +
                                   text_at(config, "/outputDir")
                             : "what is committed in " + from,
                    text_at(config, "/access") == "ReadWrite",
                    "ConfigMap " + ns_ + "/" + config_map + " /data/" + std::string(kCourierFile)};
    });
    return out;
  }

  // Whoever may write what the courier pushes may push it.
  void lend_git(Permissions& out) {
    for (const Shared& shared : shared_) {
      for (Actor& actor : out.actors) {
        if (actor.role == "sidecar" || !writes(actor, shared.volume)) continue;
        give(actor, "git.api",
             {"push " + shared.courier.branch + " of " + shared.courier.url,
              "through the courier, " + shared.courier.takes, shared.courier.from});
      }
    }
  }

  [[nodiscard]] bool writes(const Actor& actor, std::string_view volume) const {
    bool out = false;
    for (const char* list : {"containers", "ephemeralContainers", "initContainers"}) {
      each_at(pod_, std::string("/spec/") + list, [&](element container, const std::string&) {
        if (text_at(container, "/name") != actor.container) return;
        each_at(container, "/volumeMounts", [&](element mount, const std::string&) {
          out = out ||
                (text_at(mount, "/name") == volume && !bool_at(mount, "/readOnly").value_or(false));
        });
      });
    }
    return out;
  }

  const element objects_;
  const element pod_;
  std::string ns_, name_;
  std::vector<Volume> volumes_;
  std::vector<std::pair<std::string, Grant>> network_;
  std::vector<Shared> shared_;
  std::optional<GuardView> guard_;  // of the container that is being read, where it enforces
};

bool allows(std::string_view allowed, std::string_view name) {
  return name == allowed ||
         (name.size() > allowed.size() && name.starts_with(allowed) && name[allowed.size()] == '.');
}

}  // namespace

const Capability* Actor::find(std::string_view name) const {
  const auto found = std::ranges::find(capabilities, name, &Capability::name);
  return found == capabilities.end() ? nullptr : &*found;
}

std::expected<Permissions, std::string> permissions_of(element objects) {
  element pod;
  if (objects.at_pointer("/pod").get(pod) != simdjson::SUCCESS || !pod.is_object())
    return std::unexpected("there is no pod");
  return Session(objects, pod).read();
}

std::vector<std::string> beyond(const Permissions& permissions,
                                std::span<const std::string> allowed) {
  std::vector<std::string> out;
  for (const Actor& actor : permissions.actors) {
    if (actor.role != "agent") continue;
    for (const Capability& capability : actor.capabilities) {
      const bool covered =
          std::ranges::find(kNeverBounded, capability.name) != kNeverBounded.end() ||
          std::ranges::any_of(allowed,
                              [&](const std::string& one) { return allows(one, capability.name); });
      if (covered) continue;
      for (const Grant& grant : capability.grants)
        out.push_back(actor.container + ": " + capability.name + ": " + grant.value);
    }
  }
  return out;
}

}  // namespace palisade::policy
