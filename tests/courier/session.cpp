#include "session.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <thread>

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

namespace palisade::courier::testing {

namespace fs = std::filesystem;

namespace {

std::string base64(std::string_view text) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t at = 0; at < text.size(); at += 3) {
    const std::string_view part = text.substr(at, 3);
    unsigned bits = 0;
    for (size_t i = 0; i < 3; ++i)
      bits = bits << 8 | (i < part.size() ? static_cast<unsigned char>(part[i]) : 0U);
    for (size_t i = 0; i < 4; ++i)
      out += i <= part.size() ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

}  // namespace

Session::Session() {
  for (const fs::path& path : {private_volume, seed, workspace, token_file.parent_path(),
                               config_file.parent_path(), canary.parent_path()}) {
    fs::create_directories(path);
  }
  write_file(token_file, kToken);
  fs::permissions(token_file, fs::perms::owner_read | fs::perms::group_read);
  write_file(termination_log, "");
  write_file(payload(), "#!/bin/sh\n: > " + canary.string() + "\nexit 1\n");
  fs::permissions(payload(), fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                                 fs::perms::others_read | fs::perms::others_exec);
  config = {{"url", host.url()},
            {"ref", "main"},
            {"branch", kBranch},
            {"access", "ReadWrite"},
            {"username", kUser},
            {"tokenFile", token_file.string()},
            {"caFile", host.certificate().string()},
            {"repository", (private_volume / "repo.git").string()},
            {"bundle", (seed / "repo.bundle").string()},
            {"workspace", repo.string()},
            {"home", (workspace / ".home").string()},
            {"terminationLog", termination_log.string()},
            {"pollSeconds", 1},
            {"settleSeconds", 0},
            {"maxPackBytes", 64 << 20}};
}

Outcome Session::courier(const std::string& verb, Process::Options options) const {
  write_file(config_file, config.dump(2));
  options.environment = environment;
  return run({PALISADE_COURIER, verb, "--config", config_file}, options);
}

void Session::serve() {
  write_file(config_file, config.dump(2));
  Process::Options options;
  options.environment = environment;
  options.out = out;
  options.err = err;
  process_ = std::make_unique<Process>(
      Arguments{PALISADE_COURIER, "serve", "--config", config_file}, options);
}

void Session::serve_again() {
  for (const fs::path& file : {out, err})
    fs::remove(file);
  serve();
  if (!eventually([this] { return said().find("goes on from") != std::string::npos; }))
    throw std::runtime_error("the courier does not go on: " + said());
}

bool Session::ready() const {
  return courier("ready").code == 0;
}

void Session::start() {
  serve();
  const fs::path handed_out = config["bundle"].get<std::string>();
  if (!eventually([&] { return fs::exists(handed_out) || process_->wait(milliseconds(0)); }) ||
      !ready()) {
    throw std::runtime_error("the courier does not get ready: " + said() +
                             read_file(termination_log));
  }
  const Outcome made = courier("checkout");
  if (made.code != 0) throw std::runtime_error("checkout: " + made.err + made.out);
}

std::string Session::commit(std::string_view file, std::string_view content) const {
  const fs::path path = repo / file;
  fs::create_directories(path.parent_path());
  write_file(path, content);
  git_text(repo, {"add", "--all", "."});
  git_text(repo, {"commit", "-qm", "Change " + std::string(file)});
  return git_text(repo, {"rev-parse", "HEAD"});
}

std::string Session::prepare(std::string_view parent, std::string_view file,
                             std::string_view content) const {
  const Directory scratch;
  write_file(scratch.path() / "content", content);
  const std::string blob = git_text(repo, {"hash-object", "-w", scratch.path() / "content"});
  const std::string before = git_text(repo, {"ls-tree", std::string(parent)});
  write_file(scratch.path() / "tree",
             before + "\n100644 blob " + blob + "\t" + std::string(file) + "\n");
  // mktree reads its standard input.
  Process::Options options;
  options.directory = repo;
  options.in = scratch.path() / "tree";
  const Outcome tree = run({"git", "-c", "safe.directory=*", "mktree"}, options);
  if (tree.code != 0) throw std::runtime_error("mktree: " + tree.err);
  return git_text(repo, {"commit-tree", tree.out.substr(0, 40), "-p", std::string(parent), "-m",
                         "Add " + std::string(file)});
}

void Session::set_tip(std::string_view text) const {
  fs::create_directories((dot_git / kBranchRef).parent_path());
  write_file(dot_git / kBranchRef, text);
}

fs::path Session::loose(std::string_view object) const {
  return dot_git / "objects" / object.substr(0, 2) / object.substr(2);
}

bool Session::arrives(std::string_view commit, milliseconds limit) const {
  return eventually([&] { return remote() == commit; }, limit);
}

void Session::some_polls() const {
  std::this_thread::sleep_for(seconds(config.value("pollSeconds", 1)) * 2 + milliseconds(700));
}

Session::End Session::stop(milliseconds limit) {
  process_->signal(SIGTERM);
  return end(limit);
}

Session::End Session::end(milliseconds limit) {
  if (!process_->wait(limit)) throw std::runtime_error("the courier does not end: " + said());
  End end;
  end.code = process_->code();
  end.log = read_file(termination_log);
  end.report = nlohmann::json::parse(end.log, nullptr, false);
  if (end.report.is_discarded()) end.report = nullptr;
  return end;
}

std::string Session::token_found_in(std::string_view token) const {
  const std::string encoded = base64(std::string(kUser) + ":" + std::string(token));
  const auto has = [&](const std::string& text) {
    return text.find(token) != std::string::npos || text.find(encoded) != std::string::npos;
  };
  for (const auto& entry : fs::recursive_directory_iterator(
           base.path(), fs::directory_options::skip_permission_denied)) {
    if (!entry.is_regular_file() || entry.is_symlink()) continue;
    if (entry.path() == token_file || entry.path() == base.path() / "host" / "credentials")
      continue;
    if (entry.file_size() > (256U << 20)) continue;  // sparse files of the tests
    if (has(read_file(entry.path()))) return entry.path();
  }
  if (!host.refs().empty()) {
    const Outcome all = git(host.repository(), {"log", "--all", "-p", "--text"});
    if (has(all.out)) return "a commit on the git host";
  }
  return "";
}

PodUsers::PodUsers(const Session& session) {
  constexpr uid_t kAgent = 1001;
  constexpr uid_t kCourier = 1002;
  constexpr gid_t kGroup = 1001;
  write_file(session.config_file, session.config.dump(2));
  const auto give = [](const fs::path& path, uid_t user, mode_t mode) {
    if (chown(path.c_str(), user, kGroup) != 0 || chmod(path.c_str(), mode) != 0)
      throw std::system_error(errno, std::generic_category(), path.string());
  };
  // As fsGroup makes them: the group may write, new files inherit it.
  for (const fs::path& volume : {session.private_volume, session.seed, session.workspace})
    give(volume, 0, 02777);
  give(session.token_file.parent_path(), kCourier, 0700);
  give(session.token_file, kCourier, 0400);
  give(session.termination_log, kCourier, 0666);

  Process::Options courier;
  courier.environment = session.environment;
  courier.out = session.out;
  courier.err = session.err;
  courier.uid = kCourier;
  courier.gid = kGroup;
  serve_ = std::make_unique<Process>(
      Arguments{PALISADE_COURIER, "serve", "--config", session.config_file}, courier);
  if (!eventually([&] { return session.ready(); }))
    throw std::runtime_error("the courier does not get ready: " + session.said());

  agent_.environment = {"PATH=/usr/bin:/bin",   "HOME=" + (session.workspace / ".home").string(),
                        "GIT_AUTHOR_NAME=A",    "GIT_AUTHOR_EMAIL=a@example.com",
                        "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com"};
  agent_.uid = kAgent;
  agent_.gid = kGroup;
  const Outcome made = run({PALISADE_COURIER, "checkout", "--config", session.config_file}, agent_);
  if (made.code != 0) throw std::runtime_error("checkout: " + made.err + made.out);
  agent_.directory = session.repo;
}

Outcome PodUsers::as_agent(const Arguments& arguments) const {
  return run(arguments, agent_);
}

PodUsers::Commit PodUsers::commit(const std::string& file) const {
  for (const Arguments& step :
       {Arguments{"touch", file}, {"git", "add", file}, {"git", "commit", "-qm", "As the agent"}}) {
    const Outcome done = as_agent(step);
    if (done.code != 0) return {"", done.err};
  }
  return {as_agent({"git", "rev-parse", "HEAD"}).out.substr(0, 40), ""};
}

int PodUsers::stop() {
  serve_->signal(SIGTERM);
  return serve_->wait(seconds(60)) ? serve_->code() : -1;
}

}  // namespace palisade::courier::testing
