#include <algorithm>
#include <charconv>
#include <fstream>

#include <fmt/format.h>
#include <sys/stat.h>

#include <courier/courier.h>
#include <courier/untrusted_repo.h>

namespace palisade::courier {

namespace {

constexpr const char* kSystemAuthorities = "/etc/ssl/certs/ca-certificates.crt";
constexpr const char* kStartRef = "refs/palisade/start";
constexpr const char* kPushedRef = "refs/palisade/pushed";

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// The system's authorities and the administrator's in one file, as git wants it.
fs::path make_ca_bundle(const Config& config) {
  if (config.ca_file.empty()) return {};
  const fs::path file = config.repository.parent_path() / "ca-bundle.pem";
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  for (const fs::path& source : {fs::path(kSystemAuthorities), config.ca_file}) {
    std::ifstream in(source, std::ios::binary);
    if (in && in.peek() != std::ifstream::traits_type::eof()) out << in.rdbuf() << "\n";
  }
  return file;
}

}  // namespace

Courier::Courier(const Config& config, fs::path self)
    : config_(config),
      ca_bundle_(make_ca_bundle(config)),
      git_(config, "https", config.token_file.empty() ? fs::path() : std::move(self), ca_bundle_) {}

std::expected<std::string, std::string> Courier::in_repository(std::vector<std::string> arguments,
                                                               bool final) const {
  GitRun run;
  run.arguments = {"--git-dir", config_.repository.string()};
  run.arguments.insert(run.arguments.end(), std::make_move_iterator(arguments.begin()),
                       std::make_move_iterator(arguments.end()));
  run.end_on_term = !final;
  auto result = git_.run(run);
  if (!result) return std::unexpected(std::move(result.error()));
  return first_line(result->output);
}

std::expected<void, std::string> Courier::prepare() {
  if (fs::exists(config_.bundle)) {
    auto start = in_repository({"rev-parse", "--verify", kStartRef});
    if (!start) return std::unexpected(std::move(start.error()));
    start_ = *start;
    pushed_ = in_repository({"rev-parse", "--verify", kPushedRef}).value_or(start_);
    return {};
  }
  return fetch();
}

std::expected<void, std::string> Courier::fetch() {
  GitRun init;
  init.arguments = {"init", "--quiet", "--bare", "--template=", config_.repository.string()};
  if (auto made = git_.run(init); !made) return std::unexpected(std::move(made.error()));

  const std::string branch = "refs/heads/" + config_.branch;
  const std::string head = "refs/heads/" + config_.ref;
  const std::string tag = "refs/tags/" + config_.ref;
  GitRun list;
  list.arguments = {"ls-remote", "--quiet", config_.url, branch, head, tag};
  list.deadline = std::chrono::seconds(60);
  auto listed = git_.run(list);
  if (!listed) return std::unexpected(std::move(listed.error()));
  // Work goes on from the branch where it exists already.
  std::string from;
  for (const std::string& candidate : {branch, head, tag}) {
    if (listed->output.find("\t" + candidate + "\n") != std::string::npos) {
      from = candidate;
      break;
    }
  }
  if (from.empty())
    return std::unexpected(
        fmt::format("the repository has no branch or tag named {}", config_.ref));

  GitRun fetch;
  fetch.arguments = {"--git-dir",
                     config_.repository.string(),
                     "fetch",
                     "--quiet",
                     "--no-tags",
                     "--no-write-fetch-head",
                     "--no-recurse-submodules",
                     config_.url,
                     "+" + from + ":" + kStartRef};
  fetch.deadline = std::chrono::seconds(1800);
  if (auto fetched = git_.run(fetch); !fetched) return std::unexpected(std::move(fetched.error()));
  auto start = in_repository({"rev-parse", "--verify", std::string(kStartRef) + "^{commit}"});
  if (!start) return std::unexpected(std::move(start.error()));
  start_ = *start;
  pushed_ = start_;
  for (const std::string& reference : {std::string(kStartRef), branch}) {
    if (auto set = in_repository({"update-ref", reference, start_}); !set)
      return std::unexpected(std::move(set.error()));
  }
  const std::string part = config_.bundle.string() + ".part";
  if (auto bundled = in_repository({"bundle", "create", "--quiet", part, branch}); !bundled)
    return std::unexpected(std::move(bundled.error()));
  chmod(part.c_str(), 0644);
  std::error_code failed;
  fs::rename(part, config_.bundle, failed);
  if (failed)
    return std::unexpected(fmt::format("{}: {}", config_.bundle.string(), failed.message()));
  log("info", fmt::format("fetched {} at {}", from, start_));
  return {};
}

std::string Courier::tip() const {
  const auto found = read_branch(config_.workspace, config_.branch);
  return found && *found ? **found : std::string();
}

void Courier::deliver(bool final) {
  report_.error.clear();
  const auto found = read_branch(config_.workspace, config_.branch);
  if (!found) {
    report_.error = "the branch cannot be read from the workspace: " + found.error();
    return;
  }
  if (!*found) {
    report_.error = fmt::format("the workspace has no branch {}", config_.branch);
    return;
  }
  const std::string tip = **found;
  if (tip == pushed_) {
    report_.pushed = true;
    return;
  }
  report_.pushed = false;
  if (config_.read_only) {
    report_.error.clear();  // nothing is ever pushed: that is as asked
    return;
  }
  auto done = import(tip, final);
  if (done) done = push(tip, final);
  if (!done) {
    report_.error = std::move(done.error());
    log("warn", report_.error);
  }
}

// Takes the commits over: git runs in our own repository alone, and sees the agent's objects as a
// further object store by descriptor. What it packs is checked object by object (fsck) and link by
// link as it is unpacked here.
std::expected<void, std::string> Courier::import(const std::string& tip, bool final) {
  auto objects = open_objects(config_.workspace);
  if (!objects) return std::unexpected(std::move(objects.error()));
  const std::string git_dir = config_.repository.string();
  const fs::path pack = config_.repository.parent_path() / "import.pack";
  GitRun gather;
  gather.arguments = {"--git-dir", git_dir,    "pack-objects",          "--quiet",
                      "--revs",    "--stdout", "--no-use-bitmap-index", "--delta-base-offset"};
  gather.input = tip + "\n^" + start_ + "\n^" + pushed_ + "\n";
  gather.environment = {
      fmt::format("GIT_ALTERNATE_OBJECT_DIRECTORIES=/proc/self/fd/{}", objects->get())};
  gather.inherit = objects->get();
  gather.output_file = pack;
  gather.max_output_bytes = config_.max_pack_bytes;
  gather.deadline = std::chrono::seconds(final ? 20 : 120);
  gather.end_on_term = !final;
  auto gathered = git_.run(gather);
  if (!gathered)
    return std::unexpected("the commits cannot be read from the workspace: " + gathered.error());

  GitRun index;
  index.arguments = {"--git-dir",  git_dir,
                     "index-pack", "--stdin",
                     "--strict",   fmt::format("--max-input-size={}", config_.max_pack_bytes)};
  index.input_file = pack;
  index.end_on_term = !final;
  index.deadline = gather.deadline;
  auto indexed = git_.run(index);
  std::error_code ignored;  // overwritten next time
  fs::remove(pack, ignored);
  if (!indexed) return std::unexpected("the commits are not sound: " + indexed.error());
  auto type = in_repository({"cat-file", "-t", tip}, final);
  if (!type) return std::unexpected(std::move(type.error()));
  if (*type != "commit")
    return std::unexpected(fmt::format("the branch points to a {}, not to a commit", *type));
  for (const std::string& before : {start_, pushed_}) {
    if (auto follows = in_repository({"merge-base", "--is-ancestor", before, tip}, final);
        !follows) {
      return std::unexpected(fmt::format(
          "commit {} does not follow {}: a push would have to be forced, which is never done", tip,
          before));
    }
  }
  return {};
}

std::expected<void, std::string> Courier::push(const std::string& tip, bool final) {
  GitRun run;
  run.arguments = {"--git-dir",
                   config_.repository.string(),
                   "push",
                   "--quiet",
                   "--porcelain",
                   "--no-verify",
                   "--no-follow-tags",
                   "--no-signed",
                   "--no-force-with-lease",
                   "--recurse-submodules=no",
                   config_.url,
                   tip + ":refs/heads/" + config_.branch};
  run.deadline = std::chrono::seconds(final ? 30 : 120);
  run.end_on_term = !final;
  auto pushed = git_.run(run);
  if (!pushed) return std::unexpected("the push was refused: " + pushed.error());
  auto count = in_repository({"rev-list", "--count", start_ + ".." + tip}, final);
  int commits = 0;
  if (count) std::from_chars(count->data(), count->data() + count->size(), commits);
  pushed_ = tip;
  report_.commits = commits;
  report_.head = tip;
  report_.pushed = true;
  // Remembered for a restart of this container.
  if (auto set = in_repository({"update-ref", kPushedRef, tip}, final); !set)
    log("warn", set.error());
  log("info", fmt::format("pushed {} ({} commits) to {}", tip, commits, config_.branch));
  return {};
}

}  // namespace palisade::courier
