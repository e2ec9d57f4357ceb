#include <stdexcept>

#include <gtest/gtest.h>
#include <unistd.h>

#include "hostile_cases.h"

namespace palisade::courier::testing {

namespace fs = std::filesystem;

namespace {

std::string work(const Session& session) {
  return session.commit("src/login.py", "def login(name):\n    return bool(name)\n");
}

HostileCase with_objects(const char* name, const char* says,
                         std::function<void(Session&, const std::string&)> replace,
                         std::function<void(Session&)> configure = {}) {
  return {name, says,
          [replace](Session& s) {
            std::string tip = work(s);
            replace(s, tip);
            return Made{tip, {}, {}};
          },
          configure};
}

// The same with everything in one pack; `pack` without its suffix.
HostileCase with_pack(const char* name, const char* says,
                      std::function<void(Session&, const fs::path& pack)> replace,
                      std::function<void(Session&)> configure = {}) {
  return with_objects(
      name, says,
      [replace](Session& s, const std::string&) {
        git_text(s.repo, {"repack", "-qadf"});
        git_text(s.repo, {"prune-packed"});
        for (const auto& entry : fs::directory_iterator(s.dot_git / "objects" / "pack")) {
          if (entry.path().extension() != ".pack") continue;
          fs::path pack = entry.path();
          return replace(s, pack.replace_extension());
        }
        throw std::runtime_error("repack left no pack");
      },
      configure);
}

// A loose object of these bytes, under the name it ought to have or `as`, made without git.
std::string loose_object(const Session& session, const std::string& header, const std::string& body,
                         const std::string& as = "") {
  const Outcome made = run({"python3", "-c",
                            "import hashlib, os, sys, zlib\n"
                            "objects, head, body, name = sys.argv[1:]\n"
                            "data = head.encode() + b'\\0' + "
                            "body.encode('latin-1').decode('unicode_escape').encode('latin-1')\n"
                            "name = name or hashlib.sha1(data).hexdigest()\n"
                            "os.makedirs(f'{objects}/{name[:2]}', exist_ok=True)\n"
                            "path = f'{objects}/{name[:2]}/{name[2:]}'\n"
                            "if os.path.exists(path): os.remove(path)\n"
                            "open(path, 'wb').write(zlib.compress(data))\n"
                            "print(name)\n",
                            session.dot_git / "objects", header, body, as});
  if (made.code != 0) throw std::runtime_error("loose object: " + made.err);
  return made.out.substr(0, 40);
}

// A commit whose tree has one entry of this mode and name, a blob.
Made with_entry(Session& s, const std::string& mode, const std::string& name,
                const std::string& content) {
  const fs::path scratch = s.base.path() / "content";
  write_file(scratch, content);
  const std::string blob = git_text(s.repo, {"hash-object", "-w", scratch});
  write_file(scratch, mode + " blob " + blob + "\t" + name + "\n");
  Process::Options options;
  options.directory = s.repo;
  options.in = scratch;
  const Outcome tree = run({"git", "-c", "safe.directory=*", "mktree"}, options);
  if (tree.code != 0) throw std::runtime_error("mktree: " + tree.err);
  std::string tip = git_text(
      s.repo, {"commit-tree", tree.out.substr(0, 40), "-p", "HEAD", "-m", "An entry " + name});
  s.set_tip(tip + "\n");
  return {tip, {}, {}};
}

std::string random_text(std::size_t size) {
  std::string out;
  std::uint32_t state = 1;
  while (out.size() < size) {
    state = state * 1664525U + 1013904223U;
    out += static_cast<char>('!' + (state >> 24) % 90);
  }
  return out;
}

void one_small_pack_allowed(Session& session) {
  session.config["maxPackBytes"] = 100'000;
}

std::vector<HostileCase> loose_cases() {
  return {
      with_objects("LooseObjectIsALinkToItself", "symbolic link",
                   [](Session& s, const std::string& tip) {
                     fs::rename(s.loose(tip), s.workspace / "elsewhere");
                     make_link(s.loose(tip), s.workspace / "elsewhere");
                   }),
      with_objects(
          "LooseObjectIsALinkToTheToken", "symbolic link",
          [](Session& s, const std::string& tip) { make_link(s.loose(tip), s.token_file); }),
      with_objects(
          "LooseObjectIsALinkToADevice", "symbolic link",
          [](Session& s, const std::string& tip) { make_link(s.loose(tip), "/dev/zero"); }),
      with_objects("LooseObjectIsAPipe", "is not a regular file",
                   [](Session& s, const std::string& tip) { make_pipe(s.loose(tip)); }),
      with_objects("LooseDirectoryIsALink", "not a directory",
                   [](Session& s, const std::string& tip) {
                     fs::rename(s.loose(tip).parent_path(), s.workspace / "elsewhere");
                     make_link(s.loose(tip).parent_path(), s.workspace / "elsewhere");
                   }),
      with_objects(
          "LooseDirectoryIsAPipe", "not a directory",
          [](Session& s, const std::string& tip) { make_pipe(s.loose(tip).parent_path()); }),
      with_objects("ObjectsIsALink", ".git/objects: not a directory",
                   [](Session& s, const std::string&) {
                     fs::rename(s.dot_git / "objects", s.workspace / "elsewhere");
                     make_link(s.dot_git / "objects", s.workspace / "elsewhere");
                   }),
      with_objects("ObjectsIsAFile", ".git/objects: not a directory",
                   [](Session& s, const std::string&) { make_text(s.dot_git / "objects", ""); }),
      with_objects("LooseObjectIsGarbage", "cannot be read",
                   [](Session& s, const std::string& tip) { make_text(s.loose(tip), "garbage"); }),
      with_objects("LooseObjectIsCutShort", "cannot be read",
                   [](Session& s, const std::string& tip) {
                     const std::string whole = read_file(s.loose(tip));
                     make_text(s.loose(tip), std::string_view(whole).substr(0, whole.size() / 2));
                   }),
      with_objects("LooseObjectIsAnother", "",
                   [](Session& s, const std::string& tip) {
                     // Nothing refers to it: a stray liar among the objects is no reason to hold
                     // the work back.
                     loose_object(s, "blob 3", "abc", std::string(38, 'a') + tip.substr(0, 2));
                   }),
      with_objects("CommitIsAnotherUnderItsName", "not sound",
                   [](Session& s, const std::string& tip) {
                     const std::string other = s.prepare(tip, "other.py", "x = 1\n");
                     make_text(s.loose(tip), read_file(s.loose(other)));
                   }),
      with_objects("BlobIsAnotherUnderItsName", "not sound",
                   [](Session& s, const std::string&) {
                     loose_object(s, "blob 6", "hidden",
                                  git_text(s.repo, {"rev-parse", "HEAD:src/login.py"}));
                   }),
      with_objects("BlobIsMissing", "cannot be read",
                   [](Session& s, const std::string&) {
                     fs::remove(s.loose(git_text(s.repo, {"rev-parse", "HEAD:src/login.py"})));
                   }),
      with_objects(
          "TreeIsABlob", "not a tree",
          [](Session& s, const std::string&) {
            loose_object(s, "blob 3", "abc", git_text(s.repo, {"rev-parse", "HEAD^{tree}"}));
          }),
      with_objects("CommitClaimsGigabytes", "cannot be read",
                   [](Session& s, const std::string& tip) {
                     loose_object(s, "commit 30000000000", "tree", tip);
                   }),
      with_objects("LooseObjectIsHuge", "larger than maxPackBytes",
                   [](Session& s, const std::string&) {
                     make_sparse(s.loose(std::string(40, 'b')), 1ULL << 40);
                   }),
      with_objects(
          "LooseObjectsAreLargerThanAllowed", "larger than maxPackBytes",
          [](Session& s, const std::string&) { s.commit("large", random_text(1 << 20)); },
          one_small_pack_allowed),
      {"EntryNamedDotGit",
       "not sound",
       [](Session& s) { return with_entry(s, "100644", ".git", "x"); },
       {}},
      {"EntryNamedDotDot",
       "not sound",
       [](Session& s) { return with_entry(s, "100644", "..", "x"); },
       {}},
      {"ModulesFileWithAnOptionAsUrl",
       "not sound",
       [](Session& s) {
         return with_entry(s, "100644", ".gitmodules",
                           "[submodule \"x\"]\n\tpath = x\n\turl = -u./payload\n");
       },
       {}},
      {"ModulesFileIsALink",
       "not sound",
       [](Session& s) { return with_entry(s, "120000", ".gitmodules", "/etc/passwd"); },
       {}},
      {"LinkToTheTokenInTheTree",
       "",
       [](Session& s) { return with_entry(s, "120000", "link", s.token_file); },
       {}},
  };
}

std::vector<HostileCase> pack_cases() {
  return {
      with_pack("EverythingInOnePack", "", [](Session&, const fs::path&) {}),
      with_pack("PackIsALink", "symbolic link",
                [](Session& s, const fs::path& pack) {
                  fs::rename(pack.string() + ".pack", s.workspace / "elsewhere");
                  make_link(pack.string() + ".pack", s.workspace / "elsewhere");
                }),
      with_pack("PackIndexIsALinkToTheToken", "symbolic link",
                [](Session& s, const fs::path& pack) {
                  make_link(pack.string() + ".idx", s.token_file);
                }),
      with_pack("PackIsAPipe", "is not a regular file",
                [](Session&, const fs::path& pack) { make_pipe(pack.string() + ".pack"); }),
      with_pack("PackDirectoryIsALink", "not a directory",
                [](Session& s, const fs::path& pack) {
                  fs::rename(pack.parent_path(), s.workspace / "elsewhere");
                  make_link(pack.parent_path(), s.workspace / "elsewhere");
                }),
      with_pack("PackIsGarbageAfterItsHeader", "cannot be read",
                [](Session&, const fs::path& pack) {
                  const std::string whole = read_file(pack.string() + ".pack");
                  make_text(pack.string() + ".pack", whole.substr(0, 12) +
                                                         std::string(whole.size() - 32, 'x') +
                                                         whole.substr(whole.size() - 20));
                }),
      with_pack("PackIsEmpty", "cannot be read",
                [](Session&, const fs::path& pack) { make_text(pack.string() + ".pack", ""); }),
      with_pack("PackIndexIsGarbage", "cannot be read",
                [](Session&, const fs::path& pack) {
                  make_text(pack.string() + ".idx", random_text(5000));
                }),
      with_pack(
          "PackIsLargerThanAllowed", "larger than 100000 bytes",
          [](Session& s, const fs::path&) {
            s.commit("large", random_text(1 << 20));
            git_text(s.repo, {"repack", "-qadf"});
            git_text(s.repo, {"prune-packed"});
          },
          one_small_pack_allowed),
      with_objects("StrayPackIsHuge", "",
                   [](Session& s, const std::string&) {
                     const fs::path stray =
                         s.dot_git / "objects" / "pack" / ("pack-" + std::string(40, 'c'));
                     make_sparse(stray.string() + ".pack", 1ULL << 40);
                     make_sparse(stray.string() + ".idx", 1ULL << 40);
                   }),
      with_objects("TooManyPacks", "too many",
                   [](Session& s, const std::string&) {
                     for (int i = 1000; i < 1300; ++i) {
                       const fs::path stray = s.dot_git / "objects" / "pack" /
                                              ("pack-" + std::string(36, 'c') + std::to_string(i));
                       write_file(stray.string() + ".pack", "");
                       write_file(stray.string() + ".idx", "");
                     }
                   }),
  };
}

std::vector<HostileCase> graft_cases() {
  return {
      with_objects("AlternatesHoldTheWork", "objects/info/alternates",
                   [](Session& s, const std::string& tip) {
                     fs::create_directories(s.workspace / "elsewhere" / tip.substr(0, 2));
                     fs::rename(s.loose(tip),
                                s.workspace / "elsewhere" / tip.substr(0, 2) / tip.substr(2));
                     make_text(s.dot_git / "objects" / "info" / "alternates",
                               (s.workspace / "elsewhere").string() + "\n");
                   }),
      with_objects("AlternatesAreALinkToTheToken", "",
                   [](Session& s, const std::string&) {
                     make_link(s.dot_git / "objects" / "info" / "alternates", s.token_file);
                     make_link(s.dot_git / "objects" / "info" / "http-alternates", s.token_file);
                   }),
      with_objects("AlternatesAreAPipe", "",
                   [](Session& s, const std::string&) {
                     fs::create_directories(s.dot_git / "objects" / "info");
                     make_pipe(s.dot_git / "objects" / "info" / "alternates");
                   }),
      with_objects("CachesThatLie", "",
                   [](Session& s, const std::string&) {
                     const fs::path objects = s.dot_git / "objects";
                     make_text(objects / "info" / "commit-graph", random_text(4000));
                     make_text(objects / "info" / "commit-graphs" / "commit-graph-chain",
                               std::string(40, 'a') + "\n");
                     make_text(objects / "pack" / "multi-pack-index", random_text(4000));
                     make_pipe(objects / "info" / "packs");
                   }),
      with_objects("ReplaceRefs", "",
                   [](Session& s, const std::string& tip) {
                     const std::string other =
                         s.prepare(s.host.ref("main"), "replaced.py", "x = 1\n");
                     make_text(s.dot_git / "refs" / "replace" / tip, other + "\n");
                   }),
      {"GraftsMakeAnUnrelatedHistoryFollow",
       "never done",
       [](Session& s) {
         std::string tip = git_text(s.repo, {"commit-tree", "HEAD^{tree}", "-m", "Nobody's child"});
         make_text(s.dot_git / "info" / "grafts", tip + " " + s.host.ref("main") + "\n");
         s.set_tip(tip + "\n");
         return Made{tip, {}, {}};
       },
       {}},
      {"ShallowHidesAMissingParent",
       "cannot be read",
       [](Session& s) {
         const std::string parent = work(s);
         std::string tip = s.commit("more.py", "x = 1\n");
         make_text(s.dot_git / "shallow", tip + "\n");
         fs::remove(s.loose(parent));
         return Made{tip, {}, {}};
       },
       {}},
      {"ShallowCutsTheHistoryOff",
       "",
       [](Session& s) {
         std::string tip = work(s);
         make_text(s.dot_git / "shallow", tip + "\n");
         return Made{tip, {}, {}};
       },
       {}},
  };
}

}  // namespace

std::vector<HostileCase> object_cases() {
  std::vector<HostileCase> out;
  for (std::vector<HostileCase> part : {loose_cases(), pack_cases(), graft_cases()})
    out.insert(out.end(), part.begin(), part.end());
  return out;
}

}  // namespace palisade::courier::testing
