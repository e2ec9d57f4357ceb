// `palisade attach` on a terminal, against a server that speaks the API server's side: what the
// container's side would say is said by the test. The real one is in the end-to-end stories.
#include <atomic>
#include <csignal>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <pty.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <kube/attach.h>

#include "cli/program.h"

namespace palisade::cli {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
using namespace std::chrono_literals;
using nlohmann::json;
using tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using Socket = websocket::stream<tcp::socket>;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kPatience = 30s;

// A connection at a time, each on the server's one thread: GETs are answered with the workspace,
// upgrades are handed to the next of `sessions`; where there is none left, they are refused.
class Server {
 public:
  using Session = std::function<void(Socket&)>;
  explicit Server(std::vector<Session> sessions, json workspace)
      : sessions_(std::move(sessions)), workspace_(std::move(workspace)) {
    thread_ = std::jthread([this] { serve(); });
  }
  ~Server() {
    over_ = true;
    // Wakes the accept.
    beast::error_code ignored;
    asio::io_context io;
    tcp::socket knock(io);
    knock.connect(acceptor_.local_endpoint(), ignored);
  }
  [[nodiscard]] std::string url() const {
    return "http://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  }
  void workspace(json now) {
    const std::scoped_lock lock(mutex_);
    workspace_ = std::move(now);
  }
  // METHOD TARGET of the last upgrade.
  std::string asked() {
    const std::scoped_lock lock(mutex_);
    return asked_;
  }

 private:
  void serve() {
    while (!over_) {
      tcp::socket socket(io_);
      beast::error_code ec;
      acceptor_.accept(socket, ec);
      if (ec || over_) return;
      // Kept-alive connections must not hold up the next one.
      const timeval limit{20, 0};
      ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      one(std::move(socket));
    }
  }
  void one(tcp::socket socket) {
    beast::flat_buffer buffer;
    http::request<http::string_body> request;
    beast::error_code ec;
    http::read(socket, buffer, request, ec);
    if (ec) return;
    if (websocket::is_upgrade(request)) {
      {
        const std::scoped_lock lock(mutex_);
        asked_ = std::string(request.method_string()) + " " + std::string(request.target()) + " " +
                 std::string(request[http::field::sec_websocket_protocol]);
      }
      if (next_ == sessions_.size()) {
        answer(socket, http::status::forbidden,
               {{"kind", "Status"},
                {"reason", "Forbidden"},
                {"message", "admission webhook denied: [session-access] only alice\x1b[2J"}});
        return;
      }
      Socket upgraded(std::move(socket));
      upgraded.set_option(websocket::stream_base::decorator([](websocket::response_type& r) {
        r.set(http::field::sec_websocket_protocol, "v5.channel.k8s.io");
      }));
      upgraded.accept(request, ec);
      upgraded.binary(true);
      if (!ec) sessions_[next_++](upgraded);
      return;
    }
    const std::scoped_lock lock(mutex_);
    answer(socket, http::status::ok, workspace_);
  }
  static void answer(tcp::socket& socket, http::status status, const json& body) {
    http::response<http::string_body> response(status, 11);
    response.set(http::field::content_type, "application/json");
    response.keep_alive(false);
    response.body() = body.dump();
    response.prepare_payload();
    beast::error_code ignored;
    http::write(socket, response, ignored);
    socket.shutdown(tcp::socket::shutdown_both, ignored);
  }

  asio::io_context io_;
  tcp::acceptor acceptor_{io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  std::vector<Session> sessions_;
  std::size_t next_ = 0;
  std::mutex mutex_;
  json workspace_;
  std::string asked_;
  std::atomic<bool> over_ = false;
  std::jthread thread_;
};

void say(Socket& socket, char channel, const std::string& text) {
  beast::error_code ignored;
  socket.write(asio::buffer(channel + text), ignored);
}
// The next message of that channel, without it; nullopt at the end.
std::optional<std::string> hear(Socket& socket, char channel) {
  for (;;) {
    beast::flat_buffer buffer;
    beast::error_code ec;
    socket.read(buffer, ec);
    if (ec) return std::nullopt;
    const std::string message = beast::buffers_to_string(buffer.data());
    if (!message.empty() && message[0] == channel) return message.substr(1);
  }
}
void end(Socket& socket) {
  say(socket, 3, R"({"kind": "Status", "status": "Success"})");
  beast::error_code ignored;
  socket.close(websocket::close_code::normal, ignored);
}

json workspace(const char* phase = "Running", bool task = false) {
  json out{{"apiVersion", "palisade.dev/v1alpha1"},
           {"kind", "AgentWorkspace"},
           {"metadata", {{"name", "shell"}, {"namespace", "default"}, {"uid", "u"}}},
           {"spec", {{"repository", {{"url", "https://git.example.com/a"}}}}},
           {"status",
            {{"phase", phase},
             {"podName", "shell-agent"},
             {"conditions",
              {{{"type", "Ready"},
                {"status", std::string(phase) == "Running" ? "True" : "False"},
                {"reason", phase}}}}}}};
  if (task) out["spec"]["task"]["message"] = "x";
  return out;
}

// The program on a terminal of its own.
class OnTerminal {
 public:
  OnTerminal(const std::string& arguments, const std::string& folder, unsigned short columns = 80) {
    const winsize size{24, columns, 0, 0};
    EXPECT_EQ(::openpty(&master_, &slave_, nullptr, nullptr, &size), 0);
    EXPECT_EQ(::tcgetattr(slave_, &before_), 0);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    for (int target = 0; target < 3; ++target)
      ::posix_spawn_file_actions_adddup2(&actions, slave_, target);
    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    const std::string command = "cd '" + folder + "' && exec '" PALISADE_PROGRAM "' " + arguments;
    std::array<char*, 4> argv{const_cast<char*>("sh"), const_cast<char*>("-c"),
                              const_cast<char*>(command.c_str()), nullptr};
    EXPECT_EQ(::posix_spawnp(&child_, "sh", &actions, &attributes, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  ~OnTerminal() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      ::waitpid(child_, nullptr, 0);
    }
    ::close(master_);
    ::close(slave_);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  void type(const std::string& keys) const {
    EXPECT_EQ(::write(master_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  void resize(unsigned short columns, unsigned short rows) const {
    const winsize size{rows, columns, 0, 0};
    EXPECT_EQ(::ioctl(master_, TIOCSWINSZ, &size), 0);
    ::kill(child_, SIGWINCH);  // the terminal is not its controlling one
  }
  void signal(int number) const { ::kill(child_, number); }
  // What was shown so far, waited for until `text` is in it.
  bool shows(const std::string& text) {
    const auto until = Clock::now() + kPatience;
    while (shown_.find(text) == std::string::npos && Clock::now() < until)
      read(100);
    return shown_.find(text) != std::string::npos;
  }
  int wait() {
    const auto until = Clock::now() + kPatience;
    int status = 0;
    while (::waitpid(child_, &status, WNOHANG) == 0) {
      if (Clock::now() > until) return -1;
      read(20);
    }
    child_ = 0;
    read(0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  [[nodiscard]] const std::string& shown() const { return shown_; }
  [[nodiscard]] bool is_raw() const { return (mode().c_lflag & (ICANON | ECHO)) == 0; }
  [[nodiscard]] bool is_as_before() const {
    const termios now = mode();
    return now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag &&
           now.c_oflag == before_.c_oflag;
  }

 private:
  [[nodiscard]] termios mode() const {
    termios out{};
    EXPECT_EQ(::tcgetattr(slave_, &out), 0);
    return out;
  }
  void read(int milliseconds) {
    pollfd waiting{master_, POLLIN, 0};
    while (::poll(&waiting, 1, milliseconds) > 0 && (waiting.revents & POLLIN) != 0) {
      std::array<char, 4096> piece{};
      const ssize_t got = ::read(master_, piece.data(), piece.size());
      if (got <= 0) return;
      shown_.append(piece.data(), static_cast<std::size_t>(got));
      milliseconds = 0;
    }
  }
  int master_ = -1;
  int slave_ = -1;
  pid_t child_ = 0;
  termios before_{};
  std::string shown_;
};

class Attach : public testing::ProgramTest {
 protected:
  std::string kubeconfig(const Server& server) const {
    json config{{"apiVersion", "v1"}, {"kind", "Config"}, {"current-context", "c"}};
    config["clusters"] = json::array({{{"name", "c"}, {"cluster", {{"server", server.url()}}}}});
    config["users"] = json::array({{{"name", "u"}, {"user", {{"token", "t0ken"}}}}});
    config["contexts"] =
        json::array({{{"name", "c"}, {"context", {{"cluster", "c"}, {"user", "u"}}}}});
    return " --kubeconfig " + write("config.json", config.dump());
  }
};

TEST_F(Attach, CarriesKeysSizesAndFilteredOutput) {
  Server server({[&](Socket& socket) {
                  say(socket, 1, "> \x1b[31mred\x1b]0;title\x07 \x1b[2Jx");
                  EXPECT_EQ(hear(socket, 4), R"({"Height":25,"Width":80})");
                  EXPECT_EQ(hear(socket, 4), R"({"Height":24,"Width":80})");
                  EXPECT_EQ(hear(socket, 0), "/help\r");
                  say(socket, 1, "heard");
                  EXPECT_EQ(hear(socket, 4), R"({"Height":7,"Width":20})");
                  say(socket, 1, "sized");
                  hear(socket, 9);  // until it leaves
                }},
                workspace());
  OnTerminal program("attach shell" + kubeconfig(server), folder_);
  ASSERT_TRUE(program.shows("red")) << program.shown();
  EXPECT_TRUE(program.is_raw());
  program.type("/help\r");
  ASSERT_TRUE(program.shows("heard")) << program.shown();
  program.resize(20, 7);
  ASSERT_TRUE(program.shows("sized")) << program.shown();
  program.type("\x10\x11");
  EXPECT_EQ(program.wait(), 0) << program.shown();
  EXPECT_TRUE(program.is_as_before());
  EXPECT_THAT(program.shown(), HasSubstr("\x1b[31mred"));
  EXPECT_THAT(program.shown(), Not(HasSubstr("title")));
  EXPECT_THAT(program.shown(), HasSubstr("\x1b[0m"));  // colours are undone
  EXPECT_THAT(program.shown(), HasSubstr("The session goes on: palisade attach shell -n default"));
  EXPECT_EQ(server.asked(),
            "GET /api/v1/namespaces/default/pods/shell-agent/attach?container=aider&stdin=true&"
            "stdout=true&stderr=false&tty=true v5.channel.k8s.io,v4.channel.k8s.io");
}

TEST_F(Attach, ComesBackAfterACut) {
  Server server({[](Socket& socket) {
                   say(socket, 1, "first");
                   beast::error_code ignored;
                   socket.next_layer().close(ignored);
                 },
                 [](Socket& socket) {
                   say(socket, 1, "second");
                   hear(socket, 9);
                 }},
                workspace());
  OnTerminal program("attach shell" + kubeconfig(server), folder_);
  ASSERT_TRUE(program.shows("second")) << program.shown();
  EXPECT_THAT(program.shown(), HasSubstr("the connection was lost"));
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 0) << program.shown();
  EXPECT_TRUE(program.is_as_before());
}

TEST_F(Attach, EndsWithTheSession) {
  Server* there = nullptr;
  Server server({[&](Socket& socket) {
                  say(socket, 1, "bye");
                  there->workspace(workspace("Succeeded"));
                  end(socket);
                }},
                workspace());
  there = &server;
  OnTerminal program("attach shell" + kubeconfig(server), folder_);
  EXPECT_EQ(program.wait(), 0) << program.shown();
  EXPECT_TRUE(program.is_as_before());
  EXPECT_THAT(program.shown(), HasSubstr("The session has ended: Succeeded"));
}

TEST_F(Attach, SaysWhoMayNot) {
  Server server({}, workspace());
  OnTerminal program("attach shell" + kubeconfig(server), folder_, 20);
  EXPECT_EQ(program.wait(), 2) << program.shown();
  EXPECT_TRUE(program.is_as_before());
  EXPECT_THAT(program.shown(), HasSubstr("the webhook lets only the workspace's creator in"));
  EXPECT_THAT(program.shown(), HasSubstr("only alice?[2J"));
}

TEST_F(Attach, NeedsATerminalAndAnInteractiveSession) {
  Server server({}, workspace("Running", true));
  const auto piped = run("attach shell" + kubeconfig(server));
  EXPECT_EQ(piped.status, 2);
  EXPECT_THAT(piped.err, HasSubstr("it takes a terminal on both sides"));
  EXPECT_THAT(run("attach shell --detach-keys x-y").err, HasSubstr("is no key"));
  OnTerminal task("attach shell" + kubeconfig(server), folder_);
  EXPECT_EQ(task.wait(), 2);
  EXPECT_THAT(task.shown(), HasSubstr("the session has a task and reads no terminal"));
  for (const auto& [phase, says] : {std::pair("Succeeded", "the session has ended: Succeeded"),
                                    std::pair("Suspended", "palisade resume shell -n default")}) {
    server.workspace(workspace(phase));
    OnTerminal program("attach shell" + kubeconfig(server), folder_);
    EXPECT_EQ(program.wait(), 2) << phase;
    EXPECT_THAT(program.shown(), HasSubstr(says));
    EXPECT_TRUE(program.is_as_before());
  }
}

TEST(Attachments, ThatAreRefusedOrAreNoneAreErrors) {
  Server server({}, workspace());
  kube::Config config;
  config.server = server.url();
  kube::Attachment refused(config, {"a b", "p", "c", 30s, 30s});
  const auto end = refused.run([] {}, [](std::string_view) {});
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, 403);
  EXPECT_EQ(end.error().reason, "Forbidden");
  EXPECT_THAT(server.asked(), HasSubstr("/namespaces/a%20b/pods/p/attach?container=c&"));
  kube::Attachment unfinished(config, {"a", "p", "c", 30s, 30s});
  EXPECT_TRUE(unfinished.send(std::string(200'000, 'x')));
  EXPECT_FALSE(unfinished.send(std::string(200'000, 'x')));  // bounded
  config.server = "http://127.0.0.1:1";
  kube::Attachment nobody(config, {"a", "p", "c", 30s, 30s});
  const auto none = nobody.run([] {}, [](std::string_view) {});
  ASSERT_FALSE(none);
  EXPECT_TRUE(none.error().is_transport());
}

}  // namespace
}  // namespace palisade::cli
