#include "git_changes.h"

#include <algorithm>
#include <array>

#include <unistd.h>

#include <operator/workspace.h>

#include "text.h"

namespace palisade::cli {
namespace {

constexpr std::size_t kMostRefs = 1U << 20U;  // bytes of ls-remote
constexpr const char* kBase = "refs/palisade/base";
constexpr const char* kHead = "refs/palisade/head";

// Variables that lead git elsewhere, or have it run something.
constexpr std::array kLeftOut{"GIT_DIR",
                              "GIT_WORK_TREE",
                              "GIT_INDEX_FILE",
                              "GIT_OBJECT_DIRECTORY",
                              "GIT_ALTERNATE_OBJECT_DIRECTORIES",
                              "GIT_COMMON_DIR",
                              "GIT_NAMESPACE",
                              "GIT_PREFIX",
                              "GIT_SHALLOW_FILE",
                              "GIT_GRAFT_FILE",
                              "GIT_REPLACE_REF_BASE",
                              "GIT_TEMPLATE_DIR",
                              "GIT_DEFAULT_HASH",
                              "GIT_ATTR_SOURCE",
                              "GIT_EXTERNAL_DIFF",
                              "GIT_DIFF_OPTS",
                              "GIT_PAGER",
                              "GIT_GLOB_PATHSPECS",
                              "GIT_NOGLOB_PATHSPECS",
                              "GIT_ICASE_PATHSPECS"};

// Before each command. The user's own configuration counts (credentials, proxies, insteadOf); these
// settings go before it.
constexpr std::array kSettings{"core.hooksPath=/dev/null",     "core.attributesFile=/dev/null",
                               "core.fsmonitor=false",         "core.useReplaceRefs=false",
                               "diff.submodule=short",         "diff.ignoreSubmodules=none",
                               "log.showSignature=false",      "log.mailmap=false",
                               "submodule.recurse=false",      "fetch.recurseSubmodules=false",
                               "fetch.writeCommitGraph=false", "gc.auto=0",
                               "maintenance.auto=false",       "protocol.ext.allow=never"};

std::vector<std::string> own_environment() {
  std::vector<std::string> out;
  for (char** one = environ; *one != nullptr; ++one)
    out.emplace_back(*one);
  return out;
}

}  // namespace

std::vector<std::string> git_environment(const std::vector<std::string>& given) {
  std::vector<std::string> out;
  for (const std::string& one : given) {
    const std::string_view name = std::string_view(one).substr(0, one.find('='));
    if (std::ranges::find(kLeftOut, name) == kLeftOut.end()) out.push_back(one);
  }
  for (const char* one : {"GIT_ATTR_NOSYSTEM=1", "GIT_NO_REPLACE_OBJECTS=1",
                          "GIT_LITERAL_PATHSPECS=1", "GIT_OPTIONAL_LOCKS=0"})
    out.emplace_back(one);
  return out;
}

std::string object_of_ref(std::string_view lines, std::string_view ref) {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    const std::size_t tab = line.find('\t');
    if (tab == std::string_view::npos || line.substr(tab + 1) != ref) continue;
    const std::string_view object = line.substr(0, tab);
    const bool hexadecimal = std::ranges::all_of(
        object, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
    if (hexadecimal && (object.size() == 40 || object.size() == 64)) return std::string(object);
  }
  return {};
}

std::expected<int, std::string> GitChanges::git(const std::vector<std::string>& arguments,
                                                const Sink& out, const Sink& err,
                                                Interrupts& interrupts) const {
  Program program;
  program.argv = {"git", "--no-pager"};
  for (const char* setting : kSettings) {
    program.argv.emplace_back("-c");
    program.argv.emplace_back(setting);
  }
  program.argv.insert(program.argv.end(), arguments.begin(), arguments.end());
  program.environment = git_environment(own_environment());
  program.environment.push_back("GIT_CEILING_DIRECTORIES=" + folder_.path().parent_path().string());
  program.folder = folder_.path();
  return run_program(program, out, err, interrupts);
}

std::expected<void, std::string> GitChanges::look_up(const GitWish& wish, const Sink& err,
                                                     Interrupts& interrupts) {
  std::string lines;
  const auto gather = [&](std::string_view piece) {
    lines += piece;
    return lines.size() <= kMostRefs;
  };
  const std::string branch = "refs/heads/" + wish.branch;
  const std::array sources{"refs/heads/" + wish.ref, "refs/tags/" + wish.ref};
  const auto done = git({"ls-remote", "--quiet", "--", wish.url, sources[0], sources[1], branch},
                        gather, err, interrupts);
  if (!done) return std::unexpected(done.error());
  if (*done != 0) {
    return std::unexpected("git cannot read " + wish.url +
                           "; it needs your own credentials for it: try git ls-remote " + wish.url);
  }
  head_ = object_of_ref(lines, branch);
  const auto* source = std::ranges::find_if(
      sources, [&](const std::string& name) { return !object_of_ref(lines, name).empty(); });
  if (source == sources.end())
    return std::unexpected("there is no branch or tag " + wish.ref + " in " + wish.url +
                           " (any more), which the session started from");
  base_ = *source;
  const bool sha256 = object_of_ref(lines, base_).size() == 64;
  const auto made = git({"init", "--quiet", "--bare", "--template=", "--initial-branch=none",
                         std::string("--object-format=") + (sha256 ? "sha256" : "sha1"), "git"},
                        gather, err, interrupts);
  if (!made) return std::unexpected(made.error());
  if (*made != 0)
    return std::unexpected("git could not make a repository in " + folder_.path().string());
  return {};
}

std::expected<GitChanges, std::string> GitChanges::fetch(const GitWish& wish, const Sink& err,
                                                         Interrupts& interrupts) {
  // The API server has checked them; what was there before its rules has not been.
  if (!wish.url.starts_with("https://") ||
      std::ranges::any_of(wish.url, [](unsigned char c) { return c <= 0x20 || c == 0x7F; }))
    return std::unexpected("the workspace's repository is no https address");
  if (!op::is_safe_ref_name(wish.ref) || !op::is_safe_ref_name(wish.branch))
    return std::unexpected("the workspace's ref or branch is no name that git could be given");
  auto folder = TemporaryFolder::make();
  if (!folder) return std::unexpected(folder.error());
  GitChanges out(std::move(*folder));
  if (auto found = out.look_up(wish, err, interrupts); !found)
    return std::unexpected(printable(found.error()));
  if (out.head_.empty()) return out;
  const auto nothing = [](std::string_view) { return true; };
  const std::vector<std::string> fetch{"--git-dir=git",
                                       "fetch",
                                       "--no-tags",
                                       "--no-recurse-submodules",
                                       "--no-auto-maintenance",
                                       "--no-write-fetch-head",
                                       ::isatty(STDERR_FILENO) != 0 ? "--progress" : "--quiet",
                                       "--",
                                       wish.url,
                                       "+" + out.base_ + ":" + kBase,
                                       "+refs/heads/" + wish.branch + ":" + kHead};
  const auto fetched = out.git(fetch, nothing, err, interrupts);
  if (!fetched) return std::unexpected(fetched.error());
  if (*fetched != 0)
    return std::unexpected(printable("git could not fetch from " + wish.url + "; try again"));
  const auto common =
      out.git({"--git-dir=git", "merge-base", kBase, kHead}, nothing, err, interrupts);
  if (!common) return std::unexpected(common.error());
  out.related_ = *common == 0;
  return out;
}

std::expected<void, std::string> GitChanges::show(const View& view, const Sink& out,
                                                  const Sink& err, Interrupts& interrupts) const {
  std::vector<std::string> arguments{"--git-dir=git"};
  const std::string range = std::string(kBase) + (related_ ? "..." : "..") + kHead;
  if (view.shape == Shape::kCommits) {
    arguments.insert(arguments.end(),
                     {"log", "--no-decorate", "--no-ext-diff", "--no-textconv", "--no-notes",
                      "--format=%C(auto)%h%Creset  %an  %ad  %s", "--date=iso"});
  } else {
    arguments.insert(arguments.end(), {"diff", "--no-ext-diff", "--no-textconv",
                                       "--submodule=short", "--no-relative", "--no-color-moved"});
  }
  arguments.emplace_back(view.coloured ? "--color=always" : "--color=never");
  if (view.shape == Shape::kStat)
    arguments.push_back("--stat=" + std::to_string(std::max(view.columns, 20U)));
  if (view.shape == Shape::kNames) arguments.emplace_back("--name-status");
  arguments.emplace_back("--end-of-options");
  arguments.push_back(view.shape == Shape::kCommits ? std::string(kBase) + ".." + kHead : range);
  arguments.emplace_back("--");
  arguments.insert(arguments.end(), view.paths.begin(), view.paths.end());
  bool wanted = true;
  const auto status = git(
      arguments, [&](std::string_view piece) { return wanted = out(piece); }, err, interrupts);
  if (!status) return std::unexpected(status.error());
  if (*status != 0 && wanted) return std::unexpected("git could not compare the two");
  return {};
}

}  // namespace palisade::cli
