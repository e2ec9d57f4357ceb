#include "git_host.h"

#include <sstream>
#include <stdexcept>

#include <fcntl.h>
#include <unistd.h>

namespace palisade::courier::testing {

namespace fs = std::filesystem;

namespace {

Environment git_environment() {
  Environment environment = plain_environment();
  for (const char* entry :
       {"HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C",
        "GIT_AUTHOR_NAME=Agent", "GIT_AUTHOR_EMAIL=agent@example.com", "GIT_COMMITTER_NAME=Agent",
        "GIT_COMMITTER_EMAIL=agent@example.com", "GIT_TERMINAL_PROMPT=0"}) {
    environment.emplace_back(entry);
  }
  return environment;
}

// One key and certificate for the whole test program; making them is the slow part.
struct Certificate {
  Directory directory;
  fs::path certificate = directory.path() / "certificate.pem";
  fs::path key = directory.path() / "key.pem";

  Certificate() {
    const Outcome made =
        run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj",
             "/CN=git host of a test", "-addext", "subjectAltName=IP:127.0.0.1"});
    if (made.code != 0) throw std::runtime_error("openssl req: " + made.err);
  }
};

const Certificate& shared_certificate() {
  static const Certificate certificate;
  return certificate;
}

std::vector<nlohmann::json> read_log(const fs::path& path) {
  std::vector<nlohmann::json> out;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);)
    out.push_back(nlohmann::json::parse(line));
  return out;
}

}  // namespace

struct GitHost::Server {
  int input = -1;  // the server lives while this is open
  std::unique_ptr<Process> process;
  std::string address;
  fs::path log;

  Server(const fs::path& directory, const std::string& name) : log(directory / (name + ".log")) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe failed");
    input = ends[1];
    const Certificate& certificate = shared_certificate();
    const Arguments arguments{PALISADE_GIT_HTTP_SERVER,
                              "--root",
                              directory / "repositories",
                              "--certificate",
                              certificate.certificate,
                              "--key",
                              certificate.key,
                              "--credentials",
                              directory / "credentials",
                              "--log",
                              log,
                              "--redirect-if",
                              directory / "redirect",
                              "--thief",
                              directory / "thief"};
    Process::Options options;
    options.in_fd = ends[0];
    options.out = directory / (name + ".port");
    options.err = directory / (name + ".err");
    process = std::make_unique<Process>(arguments, options);
    close(ends[0]);
    const auto port = [&] { return read_file(options.out); };
    const bool up = eventually(
        [&] { return port().find('\n') != std::string::npos || process->wait(milliseconds(0)); });
    if (!up || port().empty()) {
      throw std::runtime_error("git_http_server did not start: " + read_file(options.err));
    }
    address = "https://127.0.0.1:" + port().substr(0, port().find('\n'));
  }
  ~Server() {
    close(input);
    process->wait(seconds(5));
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
};

Outcome git(const fs::path& directory, const Arguments& arguments) {
  Arguments all{"git",
                "-c",
                "safe.directory=*",
                "-c",
                "init.defaultBranch=main",
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "gc.auto=0",
                "-c",
                "protocol.file.allow=always"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  Process::Options options;
  options.environment = git_environment();
  options.directory = directory;
  return run(all, options);
}

std::string git_text(const fs::path& directory, const Arguments& arguments) {
  Outcome outcome = git(directory, arguments);
  if (outcome.code != 0) {
    throw std::runtime_error("git " + arguments[0] + ": " + outcome.err + outcome.out);
  }
  while (outcome.out.ends_with('\n'))
    outcome.out.pop_back();
  return outcome.out;
}

GitHost::GitHost(const fs::path& directory)
    : directory_(directory), repository_(directory / "repositories" / "app.git") {
  fs::create_directories(directory / "repositories");
  set_token(kToken);
  git_text(directory, {"init", "-q", "--bare", repository_});
  git_text(directory, {"init", "-q", "work"});
  const fs::path work = directory / "work";
  write_file(work / "README.md", "An application.\n");
  fs::create_directories(work / "src");
  write_file(work / "src" / "login.py", "def login(name):\n    return name\n");
  git_text(work, {"add", "."});
  git_text(work, {"commit", "-qm", "Begin"});
  write_file(work / "README.md", "An application.\n\nIt has a login form.\n");
  git_text(work, {"commit", "-qam", "Describe"});
  git_text(work, {"push", "-q", repository_, "HEAD:refs/heads/main"});
  server_ = std::make_unique<Server>(directory, "server");
}

GitHost::~GitHost() = default;

void GitHost::start_thief() {
  if (thief_) return;
  thief_ = std::make_unique<Server>(directory_, "its-server");
  write_file(directory_ / "thief", thief_->address);
}

void GitHost::redirect_everything() {
  start_thief();
  write_file(directory_ / "redirect", "");
}

std::string GitHost::url(std::string_view place, std::string_view name) {
  if (place == "redirect") start_thief();
  return server_->address + "/" + std::string(place) + "/" + std::string(name) + ".git";
}

fs::path GitHost::certificate() const {
  return shared_certificate().certificate;
}

void GitHost::set_token(std::string_view token) const {
  write_file(directory_ / "credentials", std::string(kUser) + ":" + std::string(token));
}

std::string GitHost::ref(std::string_view name) const {
  const Outcome outcome = git(repository_, {"rev-parse", "-q", "--verify", std::string(name)});
  return outcome.code == 0 ? outcome.out.substr(0, 40) : "";
}

std::string GitHost::refs() const {
  return git_text(repository_, {"for-each-ref"});
}

std::string GitHost::commit(std::string_view ref, std::string_view file,
                            std::string_view content) const {
  const Directory clone;
  git_text(clone.path(), {"init", "-q", "."});
  git_text(clone.path(), {"fetch", "-q", repository_, std::string(ref)});
  git_text(clone.path(), {"checkout", "-q", "-b", "theirs", "FETCH_HEAD"});
  fs::create_directories((clone.path() / file).parent_path());
  write_file(clone.path() / file, content);
  git_text(clone.path(), {"add", "."});
  git_text(clone.path(), {"commit", "-qm", "By someone else"});
  git_text(clone.path(), {"push", "-q", repository_, "HEAD:" + std::string(ref)});
  return git_text(clone.path(), {"rev-parse", "HEAD"});
}

void GitHost::hook(std::string_view name, std::string_view script) const {
  const fs::path path = repository_ / "hooks" / name;
  fs::create_directories(path.parent_path());
  write_file(path, "#!/bin/bash\n" + std::string(script));
  fs::permissions(path, fs::perms::owner_all);
}

std::vector<nlohmann::json> GitHost::requests() const {
  return read_log(server_->log);
}

std::vector<nlohmann::json> GitHost::thief_requests() const {
  if (!thief_) throw std::logic_error("nothing was redirected");
  return read_log(thief_->log);
}

}  // namespace palisade::courier::testing
