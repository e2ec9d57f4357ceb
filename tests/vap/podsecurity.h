// Upstream's fixtures of the Pod Security Standards, as e2e/tools/build keeps them.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <yaml_json.h>

namespace palisade::vap::testing {

struct PodSecurityFixture {
  std::string level;  // baseline or restricted
  bool pass = false;
  std::string name;  // of the file, without .yaml
  nlohmann::json pod;
  [[nodiscard]] std::string title() const {
    return level + "/" + (pass ? "pass/" : "fail/") + name;
  }
};

// Labelled as Aider pods. Throws where there are none: a test without them would show nothing.
inline std::vector<PodSecurityFixture> pod_security_fixtures() {
  namespace fs = std::filesystem;
  const char* const tools = std::getenv("PALISADE_TOOLS_BIN");
  if (tools == nullptr) throw std::runtime_error("PALISADE_TOOLS_BIN is not set");
  std::vector<PodSecurityFixture> out;
  for (const std::string level : {"baseline", "restricted"}) {
    for (const bool pass : {true, false}) {
      const fs::path folder =
          fs::path(tools).parent_path() / "podsecurity-testdata" / level / (pass ? "pass" : "fail");
      if (!fs::is_directory(folder)) {
        throw std::runtime_error(folder.string() +
                                 " is missing: e2e/tools/build podsecurity-testdata makes it");
      }
      for (const auto& entry : fs::directory_iterator(folder)) {
        std::ifstream in(entry.path());
        const std::string text{std::istreambuf_iterator<char>(in), {}};
        const auto documents = cli::read_documents(text);
        if (!documents || documents->size() != 1)
          throw std::runtime_error(entry.path().string() + " holds no one pod");
        nlohmann::json pod = nlohmann::json::parse(documents->front().json);
        pod["metadata"]["labels"]["palisade.dev/agent"] = "aider";
        out.push_back({level, pass, entry.path().stem().string(), std::move(pod)});
      }
    }
  }
  std::ranges::sort(out, {}, &PodSecurityFixture::title);
  return out;
}

}  // namespace palisade::vap::testing
