// Palisade's custom resources in a test's API server.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <kube/envtest.h>

namespace palisade {

// Installs the definitions with these plurals out of the source tree, as EnvTest::install_crd does;
// the first that fails is the answer.
inline kube::Result<void> install_definitions(const kube::EnvTest& env,
                                              const std::vector<std::string>& plurals) {
  const char* source = std::getenv("PALISADE_SOURCE_DIR");
  if (source == nullptr)
    return std::unexpected(
        kube::Error{0, "NoSource", "PALISADE_SOURCE_DIR must name the source tree", {}, {}});
  for (const std::string& plural : plurals) {
    auto done =
        env.install_crd(std::filesystem::path(source) / "crds" / (plural + ".palisade.dev.yaml"));
    if (!done) return done;
  }
  return {};
}

// The same of a definition that is not Palisade's (e2e/tools/definitions), by its name, such as
// certificates.cert-manager.io.
inline kube::Result<void> install_foreign_definition(const kube::EnvTest& env,
                                                     const std::string& name) {
  const char* tools = std::getenv("PALISADE_TOOLS_BIN");
  if (tools == nullptr)
    return std::unexpected(
        kube::Error{0, "NoTools", "PALISADE_TOOLS_BIN must name build/tools/bin", {}, {}});
  return env.install_crd(std::filesystem::path(tools).parent_path() / "definitions" /
                         (name + ".yaml"));
}

}  // namespace palisade
