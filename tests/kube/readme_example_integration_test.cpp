// The controller of kube/README.md, run against a real API server.
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kube/client.h>
#include <kube/envtest.h>

namespace {

using namespace std::chrono_literals;
using kube::Json;
using kube::resources::kConfigMaps;

// Ends with the test, whatever becomes of that.
class Program {
 public:
  Program(const std::string& file, char** arguments, char** environment) {
    EXPECT_EQ(posix_spawn(&id_, file.c_str(), nullptr, nullptr, arguments, environment), 0);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    if (id_ <= 0 || waitpid(id_, nullptr, WNOHANG) != 0) return;
    kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
  }
  // Its exit code, told to end; -1 where it did not by itself.
  [[nodiscard]] int end() const {
    kill(id_, SIGTERM);
    int status = 0;
    const auto deadline = std::chrono::steady_clock::now() + 40s;
    while (waitpid(id_, &status, WNOHANG) == 0) {
      if (std::chrono::steady_clock::now() > deadline) return -1;
      std::this_thread::sleep_for(20ms);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t id_ = -1;
};

TEST(ReadmeExample, MakesWhatIsAskedForPutsItRightAndEndsWhenTold) {
  const auto env = kube::EnvTest::start();
  ASSERT_TRUE(env) << env.error().text();
  const auto admin = kube::Client::connect((*env)->config());
  const auto program =
      std::filesystem::canonical("/proc/self/exe").parent_path() / "kube_readme_example";
  ASSERT_TRUE(std::filesystem::exists(program)) << program;
  std::vector<std::string> variables{"KUBECONFIG=" + (*env)->kubeconfig_path()};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("KUBECONFIG=") && !text.starts_with("KUBERNETES_SERVICE_HOST="))
      variables.emplace_back(text);
  }
  std::vector<char*> environment;
  for (std::string& variable : variables)
    environment.push_back(variable.data());
  environment.push_back(nullptr);
  std::string name = program.string();
  std::array<char*, 2> arguments{name.data(), nullptr};
  const Program running(name, arguments.data(), environment.data());
  const auto greeting = [&]() -> std::string {
    const auto found = admin->get(kConfigMaps, "default", "door-greeting");
    return found ? found->value("data", Json::object()).value("text", "") : "none";
  };
  const auto eventually = [&](const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + 40s;
    while (greeting() != text && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(20ms);
    EXPECT_EQ(greeting(), text);
  };
  EXPECT_TRUE(admin->create(kConfigMaps, "default",
                            {{"apiVersion", "v1"},
                             {"kind", "ConfigMap"},
                             {"metadata", {{"name", "door"}, {"labels", {{"greet", "Ada"}}}}}}));
  eventually("Hello, Ada");
  // Somebody else changes it, takes it away, and the wish changes.
  EXPECT_TRUE(admin->patch(kConfigMaps, "default", "door-greeting", kube::PatchType::kMerge,
                           {{"data", {{"text", "Go away"}}}}));
  eventually("Hello, Ada");
  EXPECT_TRUE(admin->remove(kConfigMaps, "default", "door-greeting"));
  eventually("Hello, Ada");
  EXPECT_TRUE(admin->patch(kConfigMaps, "default", "door", kube::PatchType::kMerge,
                           {{"metadata", {{"labels", {{"greet", "Grace"}}}}}}));
  eventually("Hello, Grace");
  EXPECT_EQ(running.end(), 0);
}

}  // namespace
