// What the arguments of a git command give away.
#include <algorithm>
#include <array>
#include <string_view>

#include <guard/scripts.h>

namespace palisade::guard {
namespace {

constexpr std::size_t kMostFindings = 8;
constexpr std::size_t kShown = 200;  // bytes of an argument in a message

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Configuration whose value git runs, or that leads it to more of such. Names are SECTION.KEY or
// SECTION.ANYTHING.KEY, in any case.
bool runs_programs(std::string_view name) {
  const std::string text = lower(name);
  constexpr std::array<std::string_view, 20> kWhole{"core.hookspath",
                                                    "core.sshcommand",
                                                    "core.fsmonitor",
                                                    "core.editor",
                                                    "core.pager",
                                                    "core.askpass",
                                                    "core.gitproxy",
                                                    "core.alternaterefscommand",
                                                    "sequence.editor",
                                                    "diff.external",
                                                    "credential.helper",
                                                    "gpg.program",
                                                    "include.path",
                                                    "init.templatedir",
                                                    "uploadpack.packobjectshook",
                                                    "interactive.difffilter",
                                                    "protocol.allow",
                                                    "protocol.ext.allow",
                                                    "protocol.file.allow",
                                                    "web.browser"};
  if (std::ranges::find(kWhole, text) != kWhole.end()) return true;
  constexpr std::array<std::pair<std::string_view, std::string_view>, 18> kParts{{
      {"filter.", ".clean"},
      {"filter.", ".smudge"},
      {"filter.", ".process"},
      {"diff.", ".command"},
      {"diff.", ".textconv"},
      {"merge.", ".driver"},
      {"includeif.", ".path"},
      {"credential.", ".helper"},
      {"gpg.", ".program"},
      {"gpg.", ".defaultkeycommand"},
      {"submodule.", ".update"},
      {"remote.", ".uploadpack"},
      {"remote.", ".receivepack"},
      {"remote.", ".vcs"},
      {"mergetool.", ".cmd"},
      {"difftool.", ".cmd"},
      {"browser.", ".cmd"},
      {"pager.", ""},
  }};
  return std::ranges::any_of(kParts, [&](const auto& part) {
    return text.starts_with(part.first) && text.ends_with(part.second) &&
           text.size() >= part.first.size() + part.second.size();
  });
}

bool worth_a_look(std::string_view name, std::string_view value) {
  if (lower(name).starts_with("alias.")) return value.starts_with('!');
  if (lower(name).starts_with("pager."))
    return value != "true" && value != "false" && !value.empty();
  // Set to nothing, or to a null device, it is switched off.
  if (value.empty() || value == "/dev/null" || value == "false" || value == "never" ||
      value == "cat")
    return false;
  return runs_programs(name);
}

std::string shown(std::string_view text) {
  return text.size() <= kShown ? std::string(text) : std::string(text.substr(0, kShown)) + "...";
}

class Look {
 public:
  explicit Look(const std::vector<std::string>& argv) : argv_(argv) {}

  std::vector<GitFinding> run() {
    transports();
    const std::size_t command = globals();
    if (command < argv_.size()) {
      if (argv_[command] == "config") config(command + 1);
      if (argv_[command] == "clone" || argv_[command] == "init" || argv_[command] == "fetch" ||
          argv_[command] == "ls-remote" || argv_[command] == "pull" || argv_[command] == "push" ||
          argv_[command] == "submodule")
        programs_of(command);
    }
    return std::move(out_);
  }

 private:
  void add(std::string id, std::string message) {
    if (out_.size() < kMostFindings) out_.push_back({std::move(id), std::move(message)});
  }

  void setting(std::string_view text, std::string_view how) {
    const std::size_t equals = text.find('=');
    const std::string_view name = text.substr(0, equals);
    const bool variable = how == "--config-env";  // its value is a variable's name: not known
    const std::string_view value =
        equals == std::string_view::npos ? "true" : text.substr(equals + 1);
    if (variable ? (runs_programs(name) || lower(name).starts_with("alias."))
                 : worth_a_look(name, value))
      add("git.command-line-config", "git was given " + std::string(how) + " " + shown(text) +
                                         ", which runs a program or leads to more settings");
  }

  // Options before the command; returns where it stands.
  std::size_t globals() {
    std::size_t i = 1;
    for (; i < argv_.size(); ++i) {
      const std::string_view argument = argv_[i];
      if (!argument.starts_with('-')) break;
      const auto next = [&]() -> std::string_view {
        return i + 1 < argv_.size() ? std::string_view(argv_[++i]) : std::string_view();
      };
      if (argument == "-c") {
        setting(next(), "-c");
      } else if (argument == "--config-env") {
        setting(next(), "--config-env");
      } else if (argument.starts_with("--config-env=")) {
        setting(argument.substr(13), "--config-env");
      } else if (argument == "--exec-path") {
        continue;  // alone it prints
      } else if (argument.starts_with("--exec-path=")) {
        add("git.exec-path",
            "git was told to take its own programs from " + shown(argument.substr(12)));
      } else if (argument == "-C" || argument == "--git-dir" || argument == "--work-tree" ||
                 argument == "--namespace" || argument == "--super-prefix") {
        next();
      }
    }
    return i;
  }

  // A transport helper runs a program: ext::sh -c ... and any other NAME::ADDRESS.
  void transports() {
    for (const std::string& argument : argv_) {
      const std::size_t colons = argument.find("::");
      if (colons == std::string::npos) continue;
      std::size_t begin = colons;
      while (begin > 0 && ((argument[begin - 1] >= 'a' && argument[begin - 1] <= 'z') ||
                           (argument[begin - 1] >= '0' && argument[begin - 1] <= '9') ||
                           argument[begin - 1] == '-'))
        --begin;
      const std::string_view name = std::string_view(argument).substr(begin, colons - begin);
      const bool whole = begin == 0 || argument[begin - 1] == '=';
      // "fd::" and "ext::" run or read what they are told, anywhere; others where the address
      // begins with them.
      if (name == "ext" || name == "fd" ||
          (whole && (name == "http" || name == "persistent-https")))
        add("git.transport",
            "git was given the address " + shown(argument) + ", whose transport runs a program");
    }
  }

  // --upload-pack=PROGRAM and its kin, templates with hooks, settings for a clone.
  void programs_of(std::size_t command) {
    const bool clone = argv_[command] == "clone";
    for (std::size_t i = command + 1; i < argv_.size(); ++i) {
      const std::string_view argument = argv_[i];
      if (argument == "--") return;
      const std::size_t equals = argument.find('=');
      const std::string_view name = argument.substr(0, equals);
      const auto value = [&]() -> std::string_view {
        if (equals != std::string_view::npos) return argument.substr(equals + 1);
        return i + 1 < argv_.size() ? std::string_view(argv_[++i]) : std::string_view();
      };
      if (name == "--upload-pack" || name == "--receive-pack" || name == "--exec" ||
          name == "--template" || (clone && argument == "-u")) {
        add("git.exec-path", "git " + argv_[command] + " was told to use " + std::string(name) +
                                 " " + shown(value()));
      } else if (clone && (name == "--config" || argument == "-c")) {
        setting(value(), "clone --config");
      }
    }
  }

  // Writes of configuration that outlive the repository, and of what runs programs in it.
  void config(std::size_t from) {
    std::string_view scope;
    std::vector<std::string_view> operands;
    bool reads = false;
    bool writes = false;
    for (std::size_t i = from; i < argv_.size(); ++i) {
      const std::string_view argument = argv_[i];
      const bool takes = argument == "--type" || argument == "-t" || argument == "--default" ||
                         argument == "--blob" || argument == "--comment" || argument == "--value" ||
                         argument == "--url";
      if (argument == "--global" || argument == "--system") {
        scope = argument;
      } else if (argument == "--file" || argument == "-f") {
        scope = "--file";
        ++i;
      } else if (argument.starts_with("--file=")) {
        scope = "--file";
      } else if (takes) {
        ++i;
      } else if (argument.starts_with("--get") || argument == "--list" || argument == "-l") {
        reads = true;
      } else if (argument == "--add" || argument.starts_with("--unset") ||
                 argument == "--replace-all" || argument == "--edit" || argument == "-e" ||
                 argument == "--rename-section" || argument == "--remove-section") {
        writes = true;
      } else if (!argument.starts_with('-')) {
        operands.push_back(argument);
      }
    }
    if (reads) return;
    if (!operands.empty() && !writes) {
      const std::string_view verb = operands[0];
      if (verb == "get" || verb == "list") return;
      if (verb == "set" || verb == "unset" || verb == "edit" || verb == "rename-section" ||
          verb == "remove-section") {
        writes = true;
        operands.erase(operands.begin());
      }
    }
    writes |= operands.size() > 1;
    if (!writes) return;
    const std::string_view name = operands.empty() ? std::string_view() : operands[0];
    const std::string_view value = operands.size() > 1 ? operands[1] : std::string_view();
    if (!scope.empty())
      add("git.global-config",
          "git config " + std::string(scope) + " was to be written: " + shown(name));
    if (worth_a_look(name, value))
      add("git.repository-config", "git config sets " + shown(name) + " to " + shown(value) +
                                       ", which runs a program or leads to more settings");
  }

  const std::vector<std::string>& argv_;
  std::vector<GitFinding> out_;
};

}  // namespace

std::vector<GitFinding> git_findings(const std::vector<std::string>& argv) {
  return Look(argv).run();
}

}  // namespace palisade::guard
