// What a shell offers at a point of the command line.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <kube/config.h>

namespace CLI {
class App;
}

namespace palisade::cli {

// What is asked of the cluster; each may be slow, and gives nothing where it cannot be read.
struct Names {
  struct Where {
    std::string kubeconfig;
    std::string context;
    kube::Impersonation as;
    std::string ns;
  };
  std::function<std::vector<std::string>(const Where&)> workspaces;
  std::function<std::vector<std::string>(const Where&)> namespaces;
};

// Completions of the last of `words`, those before it being what was typed (without the program's
// name): commands, options, the values that an option takes, workspaces and namespaces. Sorted;
// only what a shell needs not quote. Empty: files are what fits.
[[nodiscard]] std::vector<std::string> complete(const CLI::App& app,
                                                const std::vector<std::string>& words,
                                                const Names& names);

// The names of the cluster that the options say, within three seconds.
[[nodiscard]] Names names_of_the_cluster();

// The script for "bash", "zsh" or "fish".
[[nodiscard]] std::string completion_script(const std::string& shell);

}  // namespace palisade::cli
