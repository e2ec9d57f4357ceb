// What bench/operator measures the operator with:
//   operator_load workspaces KUBECONFIG WORKSPACE.json FIRST COUNT THREADS
//       creates COUNT AgentWorkspaces as fast as the API server takes them
//   operator_load flat KUBECONFIG WORKSPACE.json OBJECTS.json FIRST COUNT THREADS
//       the same, and after each workspace the objects that the operator would make of it: what
//       there is to wait for when nobody thinks
//   operator_load kubelet KUBECONFIG THREADS
//       says of every pod that may be scheduled that it runs, until SIGTERM. No kubelet: nothing
//       runs.
// @NAME@, @UID@ and @NS@ stand in the templates for a workspace's own. Prints seconds.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <kube/daemon.h>
#include <kube/reflector.h>
#include <kube/workqueue.h>

namespace {

using kube::Json;

constexpr int kNamespaces = 10;

const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace",
                                 true};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
}

std::shared_ptr<const kube::Client> connect(const std::string& file) {
  auto config = kube::load_kubeconfig(file);
  if (!config) throw std::runtime_error(config.error().text());
  return kube::Client::connect(std::move(*config), kube::Client::TransportKind::kBeast);
}

template <class T>
T must(kube::Result<T> result, const std::string& what) {
  if (!result) throw std::runtime_error(what + ": " + result.error().text());
  return std::move(*result);
}

// Runs `one` for each number of the range on `threads` threads and returns the seconds it took.
double run(int first, int count, int threads, const std::function<void(int)>& one) {
  const auto begun = std::chrono::steady_clock::now();
  std::atomic<int> next = first;
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < threads; ++i) {
      workers.emplace_back([&] {
        try {
          for (int number = next++; number < first + count; number = next++)
            one(number);
        } catch (const std::exception& error) {
          std::fprintf(stderr, "%s\n", error.what());
          std::_Exit(1);
        }
      });
    }
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

struct Named {
  std::string ns, name;
};

Named named(int number) {
  return {"team-" + std::to_string(number % kNamespaces), "ws-" + std::to_string(number)};
}

Json filled(std::string text, const Named& who, const std::string& uid) {
  replace_all(text, "@NAME@", who.name);
  replace_all(text, "@NS@", who.ns);
  replace_all(text, "@UID@", uid);
  return Json::parse(text);
}

double make_workspaces(const kube::Client& client, const std::string& workspace,
                       const std::vector<std::string>& objects, int first, int count, int threads) {
  struct Made {
    kube::Resource resource;
    std::string text;
  };
  std::vector<Made> rest;
  for (const std::string& text : objects) {
    const Json object = Json::parse(text);
    for (const kube::Resource* known :
         {&kube::resources::kServiceAccounts, &kube::resources::kSecrets,
          &kube::resources::kConfigMaps, &kube::resources::kNetworkPolicies,
          &kube::resources::kPods}) {
      if (known->kind == object.at("kind")) rest.push_back({*known, text});
    }
  }
  if (rest.size() != objects.size()) throw std::runtime_error("an object of an unknown kind");
  return run(first, count, threads, [&](int number) {
    const Named who = named(number);
    const Json made =
        must(client.create(kWorkspaces, who.ns, filled(workspace, who, "")), "workspace");
    const std::string uid = made.at("metadata").at("uid");
    for (const Made& entry : rest) {
      const Json object = filled(entry.text, who, uid);
      const std::string ns = object.at("metadata").at("namespace");
      must(client.create(entry.resource, ns, object), entry.resource.kind);
    }
  });
}

void play_kubelet(const std::shared_ptr<const kube::Client>& client, int threads) {
  kube::WorkQueue queue;
  kube::ReflectorOptions options;
  options.transform = [](const Json& pod) {
    Json out = Json::object();
    out["gated"] = pod.at("spec").contains("schedulingGates");
    out["phase"] = pod.value("status", Json::object()).value("phase", "");
    return out;
  };
  const auto look = [&](const kube::ObjectPtr& pod) {
    if (!(*pod)["gated"].get<bool>() && (*pod)["phase"] != "Running")
      queue.add(kube::object_key(*pod));
  };
  kube::Reflector pods(
      client, kube::resources::kPods, options,
      {look, [&](const kube::ObjectPtr&, const kube::ObjectPtr& after) { look(after); }, nullptr});
  pods.start();
  std::vector<std::jthread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&](const std::stop_token& stop) {
      while (auto key = queue.get(stop)) {
        const auto [ns, name] = kube::split_key(*key);
        const std::string now = "2026-01-01T00:00:00Z";
        const Json running{{"running", {{"startedAt", now}}}};
        Json containers = Json::array();
        Json sidecars = Json::array();
        const auto entry = [&](const char* container) {
          return Json{{"name", container}, {"ready", true}, {"started", true}, {"restartCount", 0},
                      {"image", ""},       {"imageID", ""}, {"state", running}};
        };
        containers.push_back(entry("aider"));
        sidecars.push_back(entry("relay"));
        sidecars.push_back(entry("courier"));
        const Json status{
            {"status",
             {{"phase", "Running"},
              {"startTime", now},
              {"containerStatuses", containers},
              {"initContainerStatuses", sidecars},
              {"conditions", Json::array({{{"type", "Ready"}, {"status", "True"}}})}}}};
        const auto done = client->patch(kube::resources::kPods, ns, name, kube::PatchType::kMerge,
                                        status, "status", stop);
        if (!done && !done.error().is_not_found() && !stop.stop_requested())
          std::fprintf(stderr, "%s: %s\n", key->c_str(), done.error().text().c_str());
        queue.forget(*key);
        queue.done(*key);
      }
    });
  }
  static_cast<void>(kube::wait_for_end_signal());
  queue.shut_down();
}

}  // namespace

int main(int argc, char** argv) {
  kube::block_end_signals();
  const std::vector<std::string> words(argv + 1, argv + argc);
  try {
    if (words.size() == 3 && words[0] == "kubelet") {
      play_kubelet(connect(words[1]), std::stoi(words[2]));
      return 0;
    }
    if (words.size() == 6 && words[0] == "workspaces") {
      std::printf("%.3f\n",
                  make_workspaces(*connect(words[1]), read_file(words[2]), {}, std::stoi(words[3]),
                                  std::stoi(words[4]), std::stoi(words[5])));
      return 0;
    }
    if (words.size() == 7 && words[0] == "flat") {
      const Json templates = Json::parse(read_file(words[3]));
      std::vector<std::string> objects;
      for (const Json& object : templates)
        objects.push_back(object.dump());
      std::printf("%.3f\n",
                  make_workspaces(*connect(words[1]), read_file(words[2]), objects,
                                  std::stoi(words[4]), std::stoi(words[5]), std::stoi(words[6])));
      return 0;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "operator_load: %s\n", error.what());
    return 1;
  }
  std::fprintf(stderr, "usage: see the top of bench/operator_load.cpp\n");
  return 2;
}
