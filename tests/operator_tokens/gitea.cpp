#include "operator_tokens/gitea.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kube/base64.h>

#include "kube/test_pki.h"

namespace gitea {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = std::chrono::seconds(120);

// `command` is the test's own text.
Said run(const std::string& command) {
  Said out;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) throw std::runtime_error("popen");
  char bytes[4096];
  while (const std::size_t got = fread(bytes, 1, sizeof bytes, pipe))
    out.text.append(bytes, got);
  const int status = pclose(pipe);
  out.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return out;
}

void must(const std::string& command) {
  const Said said = run(command);
  if (said.code != 0) throw std::runtime_error(command + ": " + said.text);
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) throw std::runtime_error(path.string() + " cannot be written");
}

std::uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (fd < 0 || bind(fd, raw, size) < 0 || getsockname(fd, raw, &size) < 0)
    throw std::runtime_error("no loopback port");
  close(fd);
  return ntohs(address.sin_port);
}

std::string basic(const std::string& user, const std::string& password) {
  return "Basic " + kube::encode_base64(user + ":" + password);
}

}  // namespace

Server& server() {
  static Server kServer;
  return kServer;
}

Server::Server() {
  char name[] = "/tmp/palisade-gitea-XXXXXX";
  if (mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
  folder_ = name;
  authority_ = fmt::format("127.0.0.1:{}", free_port());
  password_ = "admin-" + std::to_string(getpid()) + "-Password";
  try {
    start();
  } catch (...) {
    end();
    throw;
  }
}

void Server::start() {
  configure();
  const std::string program = (folder_ / "gitea").string();
  const std::string config = " --config " + (folder_ / "app.ini").string();
  must(as_user() + program + " migrate" + config);
  must(as_user() + program + " admin user create --admin --username " + kAdmin + " --password " +
       password_ + " --email admin@example.invalid --must-change-password=false" + config);
  const std::string command = "exec " + as_user() + program + " web" + config + " > " +
                              (folder_ / "log").string() + " 2>&1";
  process_ = fork();
  if (process_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  const auto deadline = Clock::now() + kPatience;
  for (;;) {
    try {
      call("GET", "/version");
      return;
    } catch (const std::exception& error) {
      int status = 0;
      const bool ended = waitpid(process_, &status, WNOHANG) == process_;
      if (ended) process_ = -1;
      if (ended || Clock::now() > deadline)
        throw std::runtime_error(std::string("Gitea does not answer: ") + error.what() + "\n" +
                                 read_file(folder_ / "log"));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

Server::~Server() {
  end();
}

void Server::end() {
  if (process_ > 0) {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

// Gitea refuses to run as root.
std::string Server::as_user() const {
  const std::string environment =
      "env -i PATH=/usr/bin:/bin HOME=" + (folder_ / "home").string() + " GIT_CONFIG_NOSYSTEM=1 ";
  if (getuid() != 0) return environment;
  return "setpriv --reuid=nobody --regid=nogroup --clear-groups --no-new-privs --pdeathsig=KILL " +
         environment + "USER=nobody ";
}

void Server::configure() {
  const char* tools = std::getenv("PALISADE_TOOLS_BIN");
  if (tools == nullptr) throw std::runtime_error("PALISADE_TOOLS_BIN is not set");
  const fs::path bin = tools;
  if (!fs::exists(bin / "gitea"))
    throw std::runtime_error((bin / "gitea").string() + " is not there: scripts/tools builds it");
  // Another user may not be able to look where these are.
  fs::copy_file(bin / "gitea", folder_ / "gitea");
  std::string assets = read_file(bin.parent_path() / "gitea-static");
  while (assets.ends_with('\n'))
    assets.pop_back();
  fs::create_directories(folder_ / "static");
  for (const char* part : {"options", "templates"})
    fs::copy(fs::path(assets) / part, folder_ / "static" / part,
             fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  fs::create_directories(folder_ / "static" / "public");
  fs::create_directories(folder_ / "home");
  fs::create_directories(folder_ / "work");
  const test_pki::Pair authority = test_pki::make_ca("gitea-test");
  test_pki::Leaf leaf;
  leaf.addresses = {"127.0.0.1"};
  // What a workspace calls it where loopback is refused.
  leaf.dns_names = {"git.example.com"};
  const test_pki::Pair pair = test_pki::issue(authority, leaf);
  ca_ = authority.certificate;
  write_file(folder_ / "ca.pem", ca_);
  write_file(folder_ / "server.pem", pair.certificate);
  write_file(folder_ / "server-key.pem", pair.key);
  const std::string user = getuid() == 0 ? "nobody" : "";
  const std::string f = folder_.string();
  write_file(folder_ / "app.ini",
             (user.empty() ? std::string() : "RUN_USER = " + user + "\n") + "WORK_PATH = " + f +
                 "/work\n[server]\nPROTOCOL = https\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = " +
                 authority_.substr(authority_.find(':') + 1) + "\nROOT_URL = " + url() +
                 "/\nCERT_FILE = " + f + "/server.pem\nKEY_FILE = " + f +
                 "/server-key.pem\nSTATIC_ROOT_PATH = " + f +
                 "/static\nOFFLINE_MODE = true\nDISABLE_SSH = true\n[database]\nDB_TYPE = "
                 "sqlite3\nPATH = " +
                 f +
                 "/work/gitea.db\n[security]\nINSTALL_LOCK = true\nSECRET_KEY = "
                 "only-for-this-test\nPASSWORD_HASH_ALGO = pbkdf2$1000$50\n[repository]\n"
                 "DEFAULT_BRANCH = main\n[service]\nDISABLE_REGISTRATION = true\n[log]\nLEVEL = "
                 "warn\nMODE = console\n[cron.update_checker]\nENABLED = false\n");
  must("chmod -R u+rwX,go+rX " + f);
  if (getuid() == 0) must("chown -R nobody:nogroup " + f);
}

palisade::op::tokens::TransportFactory Server::transports() const {
  return [this](const std::string& base_url) -> std::shared_ptr<kube::Transport> {
    kube::TransportOptions options;
    options.base_url = url();
    const std::string host = base_url.substr(8);
    options.server_name = host.substr(0, host.find(':'));
    options.max_response_bytes = palisade::op::tokens::kMaxAnswer;
    options.tls_material = [ca = ca_] { return kube::TlsMaterial{ca, "", ""}; };
    return kube::make_beast_transport(std::move(options));
  };
}

json Server::call(const std::string& method, const std::string& path, const json& body,
                  const std::string& user, const std::string& password) const {
  kube::Request request;
  request.method = method;
  request.target = "/api/v1" + path;
  request.headers = {
      {"Authorization", user.empty() ? basic(kAdmin, password_) : basic(user, password)}};
  if (!body.is_null()) {
    request.headers.emplace_back("Content-Type", "application/json");
    request.body = body.dump();
  }
  const auto answer = transports()(url())->send(request, {});
  if (!answer) throw std::runtime_error(answer.error().text());
  if (answer->status / 100 != 2)
    throw std::runtime_error(
        fmt::format("{} {}: {} {}", method, path, answer->status, answer->body));
  return answer->body.empty() ? json() : json::parse(answer->body);
}

int Server::status(const std::string& method, const std::string& path, const std::string& user,
                   const std::string& password) const {
  kube::Request request;
  request.method = method;
  request.target = "/api/v1" + path;
  request.headers = {{"Authorization", basic(user, password)}};
  const auto answer = transports()(url())->send(request, {});
  return answer ? answer->status : 0;
}

std::string Server::make_repository(const std::string& name) const {
  call("POST", "/user/repos",
       {{"name", name}, {"private", true}, {"auto_init", true}, {"default_branch", "main"}});
  return fmt::format("{}/{}/{}.git", url(), kAdmin, name);
}

void Server::make_bot(const std::string& user, const std::string& password,
                      const std::string& repository, const std::string& permission) const {
  if (status("GET", "/users/" + user, kAdmin, password_) == 404)
    call("POST", "/admin/users",
         {{"username", user},
          {"email", user + "@example.invalid"},
          {"password", password},
          {"must_change_password", false}});
  call("PUT", fmt::format("/repos/{}/{}/collaborators/{}", kAdmin, repository, user),
       {{"permission", permission}});
}

void Server::hold_pushes(const std::string& repository) const {
  const fs::path hook = folder_ / "work" / "data" / "gitea-repositories" / kAdmin /
                        (repository + ".git") / "hooks" / "pre-receive.d" / "held";
  if (!fs::exists(hook.parent_path()))
    throw std::runtime_error(hook.parent_path().string() + " is not there");
  write_file(folder_ / "hold", "");
  fs::create_directories(folder_ / "held");
  fs::permissions(folder_ / "held", fs::perms::all);
  write_file(hook, fmt::format("#!/bin/sh\ntouch {0}/held/one\n"
                               "while [ -e {0}/hold ]; do sleep 0.05; done\n",
                               folder_.string()));
  fs::permissions(hook, fs::perms(0755));
}

bool Server::push_is_held() const {
  return fs::exists(folder_ / "held" / "one");
}

void Server::let_go() const {
  fs::remove(folder_ / "hold");
}

std::string Server::with_credentials(const std::string& url, const std::string& user,
                                     const std::string& token) const {
  return "https://" + user + ":" + token + "@" + authority_ + url.substr(url.find('/', 8));
}

Said Server::git(const fs::path& folder, const std::string& arguments) const {
  return run(fmt::format(
      "env -i PATH=/usr/bin:/bin HOME={} GIT_CONFIG_NOSYSTEM=1 GIT_TERMINAL_PROMPT=0 "
      "GIT_SSL_CAINFO={} git -C {} -c user.name=t -c user.email=t@example.invalid {}",
      (folder_ / "home").string(), (folder_ / "ca.pem").string(), folder.string(), arguments));
}

fs::path Server::clone(const std::string& url, const std::string& user,
                       const std::string& token) const {
  char name[] = "/tmp/palisade-gitea-clone-XXXXXX";
  if (mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp");
  fs::path clone = folder_ / ("clone-" + std::string(name).substr(26));
  fs::remove(name);
  const Said said =
      git("/", "clone -q " + with_credentials(url, user, token) + " " + clone.string());
  return said.code == 0 ? clone : fs::path();
}

Said Server::push(const fs::path& folder, const std::string& branch, const std::string& url,
                  const std::string& user, const std::string& token) const {
  static std::atomic<int> count = 0;
  const int number = ++count;
  write_file(folder / fmt::format("file-{}", number), "text\n");
  for (const std::string& step :
       {std::string("add ."), fmt::format("commit -q -m change-{}", number)}) {
    if (Said said = git(folder, step); said.code != 0) return said;
  }
  return git(folder, "push " + with_credentials(url, user, token) + " HEAD:refs/heads/" + branch);
}

}  // namespace gitea
