#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <sys/stat.h>

#include <courier/courier.h>
#include <courier/untrusted_repo.h>

namespace palisade::courier {

namespace {

using Clock = std::chrono::steady_clock;

// For a step that depends on what the agent wrote; in the last delivery the push needs time too.
constexpr std::chrono::seconds kStep{120};
constexpr std::chrono::seconds kFinalStep{20};
constexpr const char* kSystemAuthorities = "/etc/ssl/certs/ca-certificates.crt";
constexpr const char* kStartRef = "refs/palisade/start";
constexpr const char* kPushedRef = "refs/palisade/pushed";
constexpr const char* kKeptRef = "refs/palisade/kept";    // as kept_
constexpr const char* kLooseRef = "refs/palisade/loose";  // as loose_

constexpr const char* kUnreadable = "the branch cannot be read from the workspace: ";

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

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

Courier::Courier(const Config& config, fs::path self)
    : config_(config),
      ca_bundle_(make_ca_bundle(config)),
      git_(config, config.through_relay ? "http" : "https",
           config.token_file.empty() ? fs::path() : std::move(self), ca_bundle_) {}

std::expected<GitResult, std::string> Courier::timed(GitRun run) const {
  if (end_by_) {
    const auto left = std::chrono::floor<std::chrono::seconds>(*end_by_ - Clock::now());
    if (left.count() <= 0)
      return std::unexpected("no time was left for git " + run.arguments.at(2));
    run.deadline = std::min(run.deadline, left);
    run.end_on_term = false;
  }
  return git_.run(run);
}

std::expected<std::string, std::string> Courier::in_repository(std::vector<std::string> arguments,
                                                               bool end_on_term) const {
  GitRun run;
  run.end_on_term = end_on_term;
  run.arguments = {"--git-dir", config_.repository.string()};
  run.arguments.insert(run.arguments.end(), std::make_move_iterator(arguments.begin()),
                       std::make_move_iterator(arguments.end()));
  auto result = timed(std::move(run));
  if (!result) return std::unexpected(std::move(result.error()));
  return first_line(result->output);
}

std::expected<int, std::string> Courier::count(const std::string& tip) const {
  auto counted = in_repository({"rev-list", "--count", start_ + ".." + tip}, false);
  if (!counted) return std::unexpected(std::move(counted.error()));
  int commits = 0;
  std::from_chars(counted->data(), counted->data() + counted->size(), commits);
  return commits;
}

std::expected<void, std::string> Courier::prepare() {
  for (const fs::path& file : {config_.token_file, config_.ca_file}) {
    if (file.empty()) continue;
    std::ifstream in(file, std::ios::binary);
    if (!in) return std::unexpected(file.string() + ": cannot be read");
    if (in.peek() == std::ifstream::traits_type::eof())
      return std::unexpected(file.string() + ": is empty");
  }
  if (!fs::exists(config_.bundle)) return fetch();
  auto start = in_repository({"rev-parse", "--verify", kStartRef});
  if (!start) return std::unexpected(std::move(start.error()));
  start_ = *start;
  // A courier that was killed may have left its lock.
  fs::remove(config_.repository / (std::string(kPushedRef) + ".lock"));
  pushed_ = in_repository({"rev-parse", "--verify", "--quiet", kPushedRef}).value_or(start_);
  const auto is_set = [this](const char* reference) {
    return in_repository({"rev-parse", "--verify", "--quiet", reference}).has_value();
  };
  kept_ = is_set(kKeptRef);
  loose_ = is_set(kLooseRef);
  log("info", fmt::format("goes on from {} after a restart", pushed_));
  if (pushed_ == start_) return {};
  auto commits = count(pushed_);
  if (!commits) return std::unexpected(std::move(commits.error()));
  report_.commits = *commits;
  report_.head = pushed_;
  report_.pushed = true;
  return {};
}

std::expected<void, std::string> Courier::fetch() {
  const std::string branch = "refs/heads/" + config_.branch;
  // Work goes on from the branch where it exists already.
  const auto from = git_.fetch_first(
      {branch, "refs/heads/" + config_.ref, "refs/tags/" + config_.ref}, kStartRef);
  if (!from) return std::unexpected(from.error());
  auto start = in_repository({"rev-parse", "--verify", std::string(kStartRef) + "^{commit}"});
  if (!start) return std::unexpected(std::move(start.error()));
  start_ = *start;
  pushed_ = start_;
  if (config_.mount == Mount::kReadOnly) {
    if (auto fit = check_output_dir(); !fit) return fit;
  }
  // The agent has not begun: a clone that is there is an earlier pod's, on a volume that was kept.
  const auto before = read_branch(config_.workspace, config_.branch);
  // What cannot be read may hold work all the same.
  if (!before) log("warn", kUnreadable + before.error());
  kept_ = !before || before->has_value();
  loose_ = kept_ && *from != branch;
  std::vector<std::string> references{kStartRef, branch};
  if (kept_) references.emplace_back(kKeptRef);
  if (loose_) references.emplace_back(kLooseRef);
  for (const std::string& reference : references) {
    if (auto set = in_repository({"update-ref", reference, start_}); !set)
      return std::unexpected(std::move(set.error()));
  }
  if (auto handed = hand_out(branch); !handed) return handed;
  log("info", fmt::format("fetched {} at {}", *from, start_));
  return {};
}

std::expected<void, std::string> Courier::hand_out(const std::string& branch) const {
  const fs::path part = config_.bundle.string() + ".part";
  fs::remove_all(part);
  if (config_.mount == Mount::kReadWrite) {
    if (auto bundled = in_repository({"bundle", "create", "--quiet", part, branch}); !bundled)
      return std::unexpected(std::move(bundled.error()));
    chmod(part.c_str(), 0644);
  } else {
    GitRun init;
    init.arguments = {"init", "--quiet", "--bare", "--template=", part.string()};
    if (auto made = git_.run(init); !made) return std::unexpected(std::move(made.error()));
    // A copy, for what is taken over from the agent later is not to be read by it; nothing of its
    // is here yet.
    fs::remove_all(part / "objects");
    fs::copy(config_.repository / "objects", part / "objects", fs::copy_options::recursive);
    GitRun name;
    name.arguments = {"--git-dir", part.string(), "update-ref", branch, start_};
    if (auto named = git_.run(name); !named) return std::unexpected(std::move(named.error()));
  }
  std::error_code failed;
  fs::rename(part, config_.bundle, failed);
  if (failed)
    return std::unexpected(fmt::format("{}: {}", config_.bundle.string(), failed.message()));
  return {};
}

std::string Courier::tip() {
  if (config_.mount == Mount::kReadOnly) return {};  // its commits are its own
  const auto found = read_branch(config_.workspace, config_.branch);
  const std::string fault = found ? std::string() : found.error();
  if (!fault.empty() && fault != unreadable_) log("warn", kUnreadable + fault);
  unreadable_ = fault;
  return found.value_or(std::nullopt).value_or(std::string());
}

void Courier::deliver(bool final) {
  if (final) end_by_ = Clock::now() + std::chrono::seconds(config_.final_seconds);
  report_.error.clear();
  report_.pushed = false;
  report_.note.clear();
  if (config_.read_only) return;  // nothing is ever pushed: that is as asked
  if (config_.mount == Mount::kReadOnly) {
    if (!final) return;  // what is still being written is nothing yet
    try {
      if (auto done = deliver_output(); !done) report_.error = std::move(done.error());
    } catch (const fs::filesystem_error& error) {
      report_.error = error.what();
    }
    for (const std::string& told : {report_.error, report_.note}) {
      if (!told.empty()) log("warn", told);
    }
    return;
  }
  const auto found = read_branch(config_.workspace, config_.branch);
  if (!found) {
    report_.error = kUnreadable + found.error();
    return;
  }
  const std::string tip = found->value_or(std::string());
  if (tip.empty()) {
    report_.error = fmt::format("the workspace has no branch {}", config_.branch);
    return;
  }
  if (tip == pushed_) {
    report_.pushed = true;
    return;
  }
  try {
    // Of an earlier pod's clone the host may have more than the clone.
    if (kept_ && pushed_ == start_ && is_ancestor(tip, start_)) {
      report_.pushed = true;
      return;
    }
    auto done = import(tip);
    if (done) done = follows(tip);
    if (done) done = push(tip);
    if (!done) report_.error = std::move(done.error());
  } catch (const fs::filesystem_error& error) {  // a full volume, say
    report_.error = error.what();
  }
  if (!report_.error.empty()) log("warn", report_.error);
}

std::expected<std::vector<std::string>, std::string> Courier::missing(
    const std::vector<std::string>& names) const {
  std::vector<std::string> out;
  if (names.empty()) return out;
  GitRun run;
  run.arguments = {"--git-dir", config_.repository.string(), "cat-file",
                   "--batch-check=%(objectname)"};
  for (const std::string& name : names)
    run.input += name + "\n";
  run.max_output_bytes = static_cast<std::int64_t>(names.size() + 1) * 64;
  auto result = timed(std::move(run));
  if (!result) return std::unexpected(std::move(result.error()));
  std::istringstream lines(result->output);
  for (std::string line; std::getline(lines, line);)
    if (line.ends_with(" missing")) out.push_back(line.substr(0, 40));
  return out;
}

// A pack of what is new up to `tip`. git runs in our own repository alone and sees a view of the
// agent's objects as a further object store.
std::expected<void, std::string> Courier::gather(const std::string& tip,
                                                 const fs::path& pack) const {
  const auto deadline =
      end_by_ ? std::min(*end_by_, Clock::now() + kFinalStep) : Clock::now() + kStep;
  auto objects = list_objects(config_.workspace);
  if (!objects) return std::unexpected(std::move(objects.error()));
  auto wanted = missing(objects->loose);
  if (!wanted) return std::unexpected(std::move(wanted.error()));
  const fs::path place = config_.repository.parent_path() / "agent-objects";
  auto view = ObjectView::make(*objects, *wanted, place, config_.max_pack_bytes, deadline);
  if (!view) return std::unexpected(std::move(view.error()));
  GitRun run;
  run.arguments = {
      "--git-dir", config_.repository.string(), "pack-objects",       "--quiet", "--revs",
      "--stdout",  "--no-use-bitmap-index",     "--delta-base-offset"};
  run.input = tip + "\n^" + start_ + "\n^" + pushed_ + "\n";
  run.environment = {"GIT_ALTERNATE_OBJECT_DIRECTORIES=" + place.string()};
  run.inherit = view->descriptors();
  run.output_file = pack;
  run.max_output_bytes = config_.max_pack_bytes;
  run.max_memory = kMaxGitMemory;
  run.deadline = end_by_ ? kFinalStep : kStep;
  // That it stands on what the courier handed out is as it should be.
  if (config_.mount != Mount::kReadWrite && objects->ignored == kAlternates)
    objects->ignored.clear();
  if (auto gathered = timed(std::move(run)); !gathered)
    return std::unexpected(
        gathered.error() +
        (objects->ignored.empty() ? "" : fmt::format(" (not used: {})", objects->ignored)));
  return {};
}

// Takes the commits over: what was packed is checked object by object (fsck) and link by link as it
// is unpacked here.
std::expected<void, std::string> Courier::import(const std::string& tip) const {
  // A git that was ended leaves half a pack.
  for (const auto& entry : fs::directory_iterator(config_.repository / "objects" / "pack"))
    if (entry.path().filename().string().starts_with("tmp_")) fs::remove(entry.path());
  const fs::path pack = config_.repository.parent_path() / "import.pack";
  auto taken = gather(tip, pack);
  if (!taken) {
    taken = std::unexpected("the commits cannot be read from the workspace: " + taken.error());
  } else {
    GitRun index;
    index.arguments = {"--git-dir",  config_.repository.string(),
                       "index-pack", "--stdin",
                       "--strict",   fmt::format("--max-input-size={}", config_.max_pack_bytes)};
    index.input_file = pack;
    index.max_memory = kMaxGitMemory;
    index.deadline = end_by_ ? kFinalStep : kStep;
    if (auto indexed = timed(std::move(index)); !indexed)
      taken = std::unexpected("the commits are not sound: " + indexed.error());
  }
  std::error_code ignored;  // overwritten next time
  fs::remove(pack, ignored);
  return taken;
}

bool Courier::is_ancestor(const std::string& commit, const std::string& of) const {
  return in_repository({"merge-base", "--is-ancestor", commit, of}, false).has_value();
}

std::expected<void, std::string> Courier::follows(const std::string& tip) {
  auto type = in_repository({"cat-file", "-t", tip});
  if (!type) return std::unexpected(std::move(type.error()));
  if (*type != "commit")
    return std::unexpected(fmt::format("the branch points to a {}, not to a commit", *type));
  // It began at an earlier commit of what has been fetched now, and nobody else has the branch.
  if (loose_) {
    if (auto base = in_repository({"merge-base", start_, tip}); base && !base->empty()) {
      if (auto set = in_repository({"update-ref", kStartRef, *base}, false); !set)
        return std::unexpected(std::move(set.error()));
      start_ = pushed_ = *base;
      loose_ = false;
      if (auto gone = in_repository({"update-ref", "-d", kLooseRef}, false); !gone)
        return std::unexpected(std::move(gone.error()));
    }
  }
  for (const std::string& before : {start_, pushed_}) {
    if (auto follows = in_repository({"merge-base", "--is-ancestor", before, tip}); !follows) {
      // Its answer is an exit code alone; words are trouble.
      if (!follows.error().ends_with(": ")) return std::unexpected(std::move(follows.error()));
      return std::unexpected(fmt::format(
          "commit {} does not follow {}: a push would have to be forced, which is never done", tip,
          before));
    }
  }
  return {};
}

std::expected<void, std::string> Courier::push(const std::string& tip) {
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
  run.deadline = kStep;
  auto pushed = timed(std::move(run));
  if (!pushed) return std::unexpected("the push was refused: " + pushed.error());
  // What is pushed must be counted and remembered even if SIGTERM has come by now.
  pushed_ = tip;
  report_.head = tip;
  report_.pushed = true;
  if (auto commits = count(tip))
    report_.commits = *commits;
  else
    log("warn", commits.error());
  // Remembered for a restart of this container.
  if (auto set = in_repository({"update-ref", kPushedRef, tip}, false); !set)
    log("warn", set.error());
  log("info", fmt::format("pushed {} ({} commits) to {}", tip, report_.commits, config_.branch));
  return {};
}

}  // namespace palisade::courier
