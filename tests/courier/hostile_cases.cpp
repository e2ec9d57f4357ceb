#include "hostile_cases.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace palisade::courier::testing {

namespace fs = std::filesystem;

void make_link(const fs::path& path, const fs::path& target) {
  fs::remove_all(path);
  fs::create_directories(path.parent_path());
  fs::create_symlink(target, path);
}

void make_pipe(const fs::path& path) {
  fs::remove_all(path);
  if (mkfifo(path.c_str(), 0666) != 0)
    throw std::runtime_error("mkfifo " + path.string() + ": " + std::strerror(errno));
}

void make_text(const fs::path& path, std::string_view text) {
  fs::remove_all(path);
  fs::create_directories(path.parent_path());
  write_file(path, text);
}

void make_sparse(const fs::path& path, std::uintmax_t size) {
  make_text(path, "");
  fs::resize_file(path, size);
}

void append(const fs::path& path, std::string_view text) {
  std::ofstream out(path, std::ios::app | std::ios::binary);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot append to " + path.string());
}

namespace {

std::string work(const Session& session) {
  return session.commit("src/login.py", "def login(name):\n    return bool(name)\n");
}

// A commit, then this in .git/config; `trap` as in Made.
HostileCase with_config(const char* name, std::function<std::string(Session&)> text,
                        Arguments trap) {
  return {name,
          "",
          [text, trap](Session& s) {
            std::string tip = work(s);
            append(s.dot_git / "config", text(s));
            return Made{tip, trap, {}};
          },
          {}};
}

// A commit, then the branch's ref replaced.
HostileCase with_ref(const char* name, const char* says,
                     std::function<void(Session&, const fs::path&)> replace) {
  return {name,
          says,
          [replace](Session& s) {
            std::string tip = work(s);
            replace(s, s.dot_git / kBranchRef);
            return Made{tip, {}, {}};
          },
          {}};
}

// The ref holds the name that `other` makes.
HostileCase pointing_to(const char* name, const char* says,
                        std::function<std::string(Session&)> other) {
  return with_ref(name, says, [other](Session& s, const fs::path&) { s.set_tip(other(s) + "\n"); });
}

std::vector<HostileCase> program_cases() {
  return {
      {"Hooks",
       "",
       [](Session& s) {
         std::string tip = work(s);
         for (const char* hook :
              {"pre-commit", "post-commit", "pre-push", "post-index-change", "pre-auto-gc",
               "reference-transaction", "update", "pre-receive", "post-receive", "post-update",
               "proc-receive", "push-to-checkout", "post-checkout", "fsmonitor-watchman"}) {
           fs::create_directories(s.dot_git / "hooks");
           fs::copy_file(s.payload(), s.dot_git / "hooks" / hook);
         }
         append(s.dot_git / "config", "[core]\n\thooksPath = .git/hooks\n");
         return Made{tip, {"update-ref", "refs/heads/trap", "HEAD"}, {}};
       },
       {}},
      with_config("ConfigFsmonitor",
                  [](Session& s) { return "[core]\n\tfsmonitor = " + s.payload().string() + "\n"; },
                  {"status"}),
      with_config("ConfigSshCommandBehindInsteadOf",
                  [](Session& s) {
                    return "[core]\n\tsshCommand = " + s.payload().string() +
                           "\n[url \"ssh://git@127.0.0.1/\"]\n\tinsteadOf = "
                           "https://\n\tpushInsteadOf = https://\n";
                  },
                  {"ls-remote", "https://127.0.0.1/app.git"}),
      with_config("ConfigExtTransportBehindInsteadOf",
                  [](Session& s) {
                    return "[protocol]\n\tallow = always\n[url \"ext::" + s.payload().string() +
                           " \"]\n\tinsteadOf = https://\n";
                  },
                  {"ls-remote", "https://127.0.0.1/app.git"}),
      with_config("ConfigCredentialHelper",
                  [](Session& s) {
                    return "[credential]\n\thelper = !" + s.payload().string() +
                           "\n[core]\n\taskPass = " + s.payload().string() +
                           "\n[http]\n\tsslVerify = false\n[alias]\n\tx = ls-remote " +
                           s.host.url() + "\n";
                  },
                  {"x"}),
      with_config("ConfigInclude",
                  [](Session& s) {
                    make_text(s.dot_git / "more",
                              "[core]\n\tfsmonitor = " + s.payload().string() + "\n");
                    return std::string(
                        "[include]\n\tpath = more\n[includeIf \"onbranch:**\"]\n\tpath = more\n");
                  },
                  {"status"}),
      with_config("ConfigWorktree",
                  [](Session& s) {
                    make_text(s.dot_git / "config.worktree",
                              "[core]\n\tfsmonitor = " + s.payload().string() + "\n");
                    return std::string("[extensions]\n\tworktreeConfig = true\n");
                  },
                  {"status"}),
      with_config("ConfigAliasesPagerAndPrograms",
                  [](Session& s) {
                    const std::string run = s.payload();
                    return "[alias]\n\tpush = !" + run + "\n\tx = !" + run +
                           "\n[core]\n\tpager = " + run + "\n\teditor = " + run +
                           "\n\talternateRefsCommand = " + run + "\n\tgitProxy = " + run +
                           "\n[gpg]\n\tprogram = " + run +
                           "\n[commit]\n\tgpgSign = true\n[push]\n\tgpgSign = true\n"
                           "[uploadpack]\n\tpackObjectsHook = " +
                           run + "\n[diff]\n\texternal = " + run + "\n";
                  },
                  {"x"}),
      with_config(
          "ConfigPromisorRemote",
          [](Session& s) {
            return "[core]\n\trepositoryFormatVersion = 1\n[extensions]\n\tpartialClone = evil\n"
                   "[protocol]\n\tallow = always\n[remote \"evil\"]\n\tpromisor = true\n\turl = "
                   "ext::" +
                   s.payload().string() + "\n";
          },
          {"cat-file", "-p", std::string(40, '1')}),
      {"ConfigUrlToAnotherHost",
       "",
       [](Session& s) {
         std::string tip = work(s);
         const std::string there = s.host.url("redirect");
         append(s.dot_git / "config",
                "[url \"" + there + "\"]\n\tinsteadOf = " + s.host.url() +
                    "\n\tpushInsteadOf = " + s.host.url() +
                    "\n[http]\n\tfollowRedirects = true\n\tsslVerify = false\n"
                    "\tproxy = http://127.0.0.1:1\n\textraHeader = X-Evil: 1\n");
         return Made{tip, {}, [](Session& end) { EXPECT_TRUE(end.host.thief_requests().empty()); }};
       },
       {}},
      {"ConfigOfTheUser",
       "",
       [](Session& s) {
         std::string tip = work(s);
         const std::string text = "[core]\n\tfsmonitor = " + s.payload().string() + "\n";
         for (const fs::path& place : {s.workspace / ".home" / ".gitconfig", s.repo / ".gitconfig",
                                       s.workspace / ".home" / ".config" / "git" / "config"}) {
           make_text(place, text);
         }
         return Made{tip, {"-c", "include.path=" + (s.repo / ".gitconfig").string(), "status"}, {}};
       },
       {}},
      {"ConfigThatIsNone",
       "",
       [](Session& s) {
         std::string tip = work(s);
         make_text(s.dot_git / "config", "[core\n\001\002 = \\");
         make_pipe(s.dot_git / "HEAD");
         make_pipe(s.dot_git / "index");
         return Made{tip, {}, {}};
       },
       {}},
      {"AttributesWithFilters",
       "",
       [](Session& s) {
         s.commit(".gitattributes", "* filter=evil diff=evil merge=evil ident export-subst\n");
         std::string tip = work(s);
         make_text(s.dot_git / "info" / "attributes", "* filter=evil diff=evil\n");
         const std::string run = s.payload();
         append(s.dot_git / "config",
                "[filter \"evil\"]\n\tclean = " + run + "\n\tsmudge = " + run +
                    "\n\trequired = true\n[diff \"evil\"]\n\ttextconv = " + run +
                    "\n\tcommand = " + run + "\n[merge \"evil\"]\n\tdriver = " + run + "\n");
         return Made{tip, {"add", "--renormalize", "."}, {}};
       },
       {}},
      {"SubmoduleWithExtUrl",
       "",
       [](Session& s) {
         const std::string run = s.payload();
         make_text(s.repo / ".gitmodules",
                   "[submodule \"x\"]\n\tpath = x\n\turl = ext::" + run + "\n");
         const std::string head = git_text(s.repo, {"rev-parse", "HEAD"});
         git_text(s.repo, {"update-index", "--add", "--cacheinfo", "160000," + head + ",x"});
         git_text(s.repo, {"add", ".gitmodules"});
         git_text(s.repo, {"commit", "-qm", "A submodule"});
         std::string tip = git_text(s.repo, {"rev-parse", "HEAD"});
         append(s.dot_git / "config",
                "[submodule]\n\trecurse = true\n[submodule \"x\"]\n\tactive = true\n\turl = ext::" +
                    run +
                    "\n\tupdate = checkout\n[push]\n\trecurseSubmodules = "
                    "on-demand\n[protocol]\n\tallow = always\n");
         return Made{tip, {"-c", "protocol.allow=always", "submodule", "update", "--init"}, {}};
       },
       {}},
  };
}

std::vector<HostileCase> shape_cases() {
  const auto moved = [](auto replace) {
    return [replace](Session& s) {
      std::string tip = work(s);
      fs::rename(s.dot_git, s.workspace / "elsewhere");
      replace(s);
      return Made{tip, {}, {}};
    };
  };
  return {
      {"DotGitIsAFile",
       "has no branch",
       moved([](Session& s) {
         make_text(s.dot_git, "gitdir: " + (s.workspace / "elsewhere").string() + "\n");
       }),
       {}},
      {"DotGitIsALink",
       "symbolic link",
       moved([](Session& s) { make_link(s.dot_git, s.workspace / "elsewhere"); }),
       {}},
      {"DotGitIsAPipe", "has no branch", moved([](Session& s) { make_pipe(s.dot_git); }), {}},
      {"DotGitIsGone", "has no branch", moved([](Session&) {}), {}},
      {"TheWorkspaceIsALink",
       "not a directory",
       [](Session& s) {
         std::string tip = work(s);
         fs::rename(s.repo, s.workspace / "elsewhere");
         make_link(s.repo, s.workspace / "elsewhere");
         return Made{tip, {}, {}};
       },
       {}},
      {"TheWorkspaceIsGone",
       "has no branch",
       [](Session& s) {
         std::string tip = work(s);
         fs::remove_all(s.repo);
         return Made{tip, {}, {}};
       },
       {}},
      {"CommonDirElsewhere",
       "",
       [](Session& s) {
         std::string tip = work(s);
         fs::copy(s.dot_git, s.workspace / "elsewhere", fs::copy_options::recursive);
         append(s.workspace / "elsewhere" / "config",
                "[core]\n\tfsmonitor = " + s.payload().string() + "\n");
         make_text(s.dot_git / "commondir", "../../elsewhere\n");
         return Made{tip, {"status"}, {}};
       },
       {}},
  };
}

std::vector<HostileCase> ref_cases() {
  return {
      with_ref("RefIsALinkToTheToken", "symbolic link",
               [](Session& s, const fs::path& ref) { make_link(ref, s.token_file); }),
      with_ref("RefIsALinkToAnotherRef", "symbolic link",
               [](Session& s, const fs::path& ref) {
                 fs::rename(ref, s.dot_git / "refs" / "heads" / "other");
                 make_link(ref, "../other");
               }),
      with_ref("RefsDirectoryIsALink", "symbolic link",
               [](Session& s, const fs::path&) {
                 fs::rename(s.dot_git / "refs", s.workspace / "elsewhere");
                 make_link(s.dot_git / "refs", s.workspace / "elsewhere");
               }),
      with_ref("RefIsALinkToADevice", "symbolic link",
               [](Session&, const fs::path& ref) { make_link(ref, "/dev/zero"); }),
      with_ref("RefIsADevice", "is not a regular file",
               [](Session&, const fs::path& ref) {
                 fs::remove(ref);
                 if (mknod(ref.c_str(), S_IFCHR | 0666, makedev(1, 5)) != 0)
                   make_pipe(ref);  // no root
               }),
      with_ref("RefIsAPipe", "is not a regular file",
               [](Session&, const fs::path& ref) { make_pipe(ref); }),
      with_ref("RefIsADirectory", "is not a regular file",
               [](Session& s, const fs::path& ref) {
                 fs::remove(ref);
                 make_text(ref / "below", s.host.ref("refs/heads/main") + "\n");
               }),
      with_ref("RefIsSymbolic", "holds no commit id",
               [](Session& s, const fs::path& ref) {
                 fs::rename(ref, s.dot_git / "refs" / "heads" / "other");
                 make_text(ref, "ref: refs/heads/other\n");
               }),
      with_ref("RefIsARefspec", "holds no commit id",
               [](Session&, const fs::path& ref) { make_text(ref, "+HEAD:refs/heads/main\n"); }),
      with_ref("RefIsAnOption", "holds no commit id",
               [](Session&, const fs::path& ref) { make_text(ref, "--receive-pack=/bin/false"); }),
      with_ref("RefHasTwoLines", "holds no commit id",
               [](Session& s, const fs::path& ref) {
                 make_text(ref, s.host.ref("main") + "\n^" + s.host.ref("main") + "\n");
               }),
      with_ref("RefIsHuge", "too large",
               [](Session&, const fs::path& ref) { make_sparse(ref, 1ULL << 40); }),
      with_ref("PackedRefsIsAPipe", "is not a regular file",
               [](Session& s, const fs::path& ref) {
                 fs::remove(ref);
                 make_pipe(s.dot_git / "packed-refs");
               }),
      with_ref("PackedRefsIsALink", "symbolic link",
               [](Session& s, const fs::path& ref) {
                 fs::remove(ref);
                 make_link(s.dot_git / "packed-refs", s.token_file);
               }),
      with_ref("PackedRefsIsHuge", "too large",
               [](Session& s, const fs::path& ref) {
                 fs::remove(ref);
                 make_sparse(s.dot_git / "packed-refs", 1ULL << 40);
               }),
      pointing_to("RefToNothing", "cannot be read", [](Session&) { return std::string(40, 'e'); }),
      pointing_to("RefToATree", "to a tree, not to a commit",
                  [](Session& s) {
                    return git_text(s.repo, {"rev-parse", "HEAD^{tree}"});
                  }),
      pointing_to("RefToABlob", "to a blob, not to a commit",
                  [](Session& s) {
                    return git_text(s.repo, {"rev-parse", "HEAD:src/login.py"});
                  }),
      pointing_to("RefToATag", "to a tag, not to a commit",
                  [](Session& s) {
                    git_text(s.repo, {"tag", "-a", "v1", "-m", "one"});
                    return git_text(s.repo, {"rev-parse", "v1"});
                  }),
      pointing_to("RefToAnUnrelatedHistory", "never done",
                  [](Session& s) {
                    return git_text(s.repo, {"commit-tree", "HEAD^{tree}", "-m", "Nobody's child"});
                  }),
      pointing_to("RefBeforeTheStart", "never done",
                  [](Session& s) { return s.host.ref("main~1"); }),
      {"OtherRefsAndAnotherHead",
       "",
       [](Session& s) {
         std::string tip = work(s);
         const std::string other = s.prepare(tip, "other.py", "x = 1\n");
         for (const char* ref : {"main", "evil", "palisade/fix-logins", "refs/heads/main"})
           git_text(s.repo, {"update-ref", "refs/heads/" + std::string(ref), other});
         git_text(s.repo, {"update-ref", "refs/tags/v1", other});
         git_text(s.repo, {"update-ref", "refs/pull/1/head", other});
         make_text(s.dot_git / "HEAD", "ref: refs/heads/evil\n");
         make_text(s.dot_git / "FETCH_HEAD", other + "\t\tbranch 'main' of x\n");
         return Made{tip, {}, {}};
       },
       {}},
      {"PackedRefsWithALieBelow",
       "",
       [](Session& s) {
         std::string tip = work(s);
         git_text(s.repo, {"pack-refs", "--all", "--prune"});
         append(s.dot_git / "packed-refs", s.host.ref("main~1") + " " + kBranchRef + "x\n" +
                                               std::string(40, 'e') + " x" + kBranchRef + "\n");
         return Made{tip, {}, {}};
       },
       {}},
  };
}

}  // namespace

std::vector<HostileCase> surroundings_cases() {
  std::vector<HostileCase> out;
  for (std::vector<HostileCase> part : {program_cases(), shape_cases(), ref_cases()})
    out.insert(out.end(), part.begin(), part.end());
  return out;
}

}  // namespace palisade::courier::testing
