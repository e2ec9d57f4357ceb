// Unix sockets: by path below files.write, and nothing else.
#include <filesystem>

#include <sys/stat.h>

#include "client.h"

namespace palisade::guard {
namespace {

namespace fs = std::filesystem;

const auto* const kNetwork = ::testing::AddGlobalTestEnvironment(new OwnNetwork);

class UnixSockets : public ::testing::Test {
 protected:
  void SetUp() override {
    for (fs::path* folder : {&inside_, &outside_}) {
      std::string name = fs::temp_directory_path() / "palisade-XXXXXX";
      ASSERT_NE(mkdtemp(name.data()), nullptr);
      *folder = name;
      fs::permissions(*folder, fs::perms::all);
    }
    policy_.files.write = {inside_, "/nowhere/at/all"};
  }
  void TearDown() override {
    fs::remove_all(inside_);
    fs::remove_all(outside_);
  }

  static sockaddr_un abstract() {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, "\0secret", 7);
    return name;
  }

  Policy policy_;
  fs::path inside_;
  fs::path outside_;
};

TEST_F(UnixSockets, ServerAndClient) {
  const auto folder = inside_.string();
  Supervised guard(policy_, [&] {
    struct Case {
      std::string bound;
      std::string connected;
      std::string own_name;
      int type;
    };
    HOLDS(chdir(folder.c_str()) == 0);
    HOLDS(mkdir("sub", 0777) == 0 && symlink("sub", "link") == 0);
    for (const auto& [bound, connected, own_name, type] :
         {Case{folder + "/a", folder + "/a", folder + "/a", SOCK_STREAM},
          Case{"b", folder + "/b", folder + "/b", SOCK_STREAM},
          Case{folder + "/c", "./c", folder + "/c", SOCK_STREAM},
          Case{folder + "/link/d", "sub/d", folder + "/link/d", SOCK_STREAM},
          Case{"e", "link/../e", folder + "/e", SOCK_SEQPACKET}}) {
      umask(bound == "b" ? 077 : 022);
      const int server = socket(AF_UNIX, type, 0);
      HOLDS(try_bind(server, unix_path(bound)) == 0);
      HOLDS(listen(server, 4) == 0);
      HOLDS(listen(server, 8) == 0);
      sockaddr_un own{};
      socklen_t size = sizeof own;
      HOLDS(getsockname(server, reinterpret_cast<sockaddr*>(&own), &size) == 0);
      HOLDS(own.sun_path == own_name);
      struct stat about {};
      HOLDS(stat(own.sun_path, &about) == 0 && S_ISSOCK(about.st_mode));
      HOLDS((about.st_mode & 0777) == (bound == "b" ? 0700U : 0755U));
      const int client = socket(AF_UNIX, type, 0);
      HOLDS(try_connect(client, unix_path(connected)) == 0);
      const int peer = accept(server, nullptr, nullptr);
      HOLDS(peer >= 0 && send(peer, "x", 1, 0) == 1);
      char byte = 0;
      HOLDS(recv(client, &byte, 1, 0) == 1);
      close(client);
      HOLDS(recv(peer, &byte, 1, 0) == 0);
      close(server);
      HOLDS(try_connect(socket(AF_UNIX, type, 0), unix_path(connected)) == ECONNREFUSED);
      HOLDS(try_bind(socket(AF_UNIX, type, 0), unix_path(bound)) == EADDRINUSE);
    }
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  EXPECT_TRUE(refusals(guard.events).empty());
  auto made = guard.events.all<Connected>();
  ASSERT_EQ(made.size(), 10U);
  EXPECT_EQ(made[6].address, "unix:" + folder + "/sub/d");
  EXPECT_EQ(made[6].port, 0);
}

TEST_F(UnixSockets, NothingOutside) {
  const auto inside = inside_.string();
  const auto outside = outside_.string();
  EchoServer server(unix_path(outside + "/server"));
  fs::permissions(outside + "/server", fs::perms::all);
  Supervised guard(policy_, [&] {
    const auto connects = [](const std::string& path) {
      const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
      const int error = try_connect(fd, unix_path(path));
      close(fd);
      return error;
    };
    const auto binds = [](const std::string& path) {
      const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
      const int error = try_bind(fd, unix_path(path));
      close(fd);
      return error;
    };
    HOLDS(chdir(inside.c_str()) == 0);
    HOLDS(symlink((outside + "/server").c_str(), "server") == 0);
    HOLDS(symlink(outside.c_str(), "folder") == 0);
    HOLDS(connects(outside + "/server") == EACCES);
    HOLDS(connects("server") == EACCES);
    HOLDS(connects(inside + "/folder/server") == EACCES);
    HOLDS(connects("../" + fs::path(outside).filename().string() + "/server") == EACCES);
    HOLDS(connects("/proc/self/root" + outside + "/server") == ELOOP);
    HOLDS(connects("/proc/self/cwd/server") == ELOOP);
    HOLDS(connects("none") == ENOENT);
    HOLDS(connects("/dev/null") == EACCES);
    HOLDS(close(open("file", O_CREAT | O_WRONLY, 0666)) == 0);
    HOLDS(connects("file") == ECONNREFUSED);
    HOLDS(binds(outside + "/mine") == EACCES);
    HOLDS(binds("folder/mine") == EACCES);
    HOLDS(binds(inside + "/folder/mine") == EACCES);
    HOLDS(binds("none/mine") == ENOENT);
    HOLDS(binds("file/mine") == ENOTDIR);
    HOLDS(binds("file") == EADDRINUSE);
    HOLDS(binds("folder/") == EADDRINUSE);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  EXPECT_EQ(server.accepted, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(outside_), {}), 1);
  const auto refused = "network.connect connect unix:" + outside + "/server 13";
  EXPECT_EQ(
      refusals(guard.events),
      (std::vector<std::string>{
          refused, refused, refused, refused, "network.connect connect unix:/dev/null 13",
          "network.bind bind unix:" + outside + "/mine 13", "network.bind bind unix:folder/mine 13",
          "network.bind bind unix:" + inside + "/folder/mine 13"}));
}

TEST_F(UnixSockets, NoAbstractNames) {
  const Fd server{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  ASSERT_EQ(try_bind(server.get(), abstract(), 9), 0);
  ASSERT_EQ(listen(server.get(), 4), 0);
  Supervised guard(policy_, [&] {
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    HOLDS(try_connect(fd, abstract(), 9) == EACCES);
    HOLDS(try_bind(fd, abstract(), 9) == EACCES);
    HOLDS(try_bind(fd, abstract(), 2) == EACCES);  // a name of the kernel's choice
    HOLDS(listen(fd, 1) == -1 && errno == EACCES);
    // With credentials asked for, a failed connect leaves a name of the kernel's choice.
    HOLDS(close(open((inside_ / "file").c_str(), O_CREAT | O_WRONLY, 0666)) == 0);
    const int named = socket(AF_UNIX, SOCK_STREAM, 0);
    const int bound = socket(AF_UNIX, SOCK_STREAM, 0);
    HOLDS(try_bind(bound, unix_path(inside_ / "quiet")) == 0);
    const int on = 1;
    HOLDS(setsockopt(named, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    HOLDS(try_connect(named, unix_path(inside_ / "quiet")) == ECONNREFUSED);
    HOLDS(listen(named, 1) == -1 && errno == EACCES);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  pollfd one{server.get(), POLLIN, 0};
  EXPECT_EQ(poll(&one, 1, 0), 0);
  EXPECT_EQ(
      refusals(guard.events),
      (std::vector<std::string>{"network.unix-abstract connect unix:@secret 13",
                                "network.unix-abstract bind unix:@secret 13",
                                "network.unix-abstract bind unix:@ 13",
                                "network.listen listen unix socket that is bound to no path 13",
                                "network.listen listen unix socket that is bound to no path 13"}));
}

// Links that change all the time between what is allowed and what is not.
TEST_F(UnixSockets, ChangingLinksLeadNowhereElse) {
  EchoServer fine(unix_path(inside_ / "fine"));
  EchoServer secret(unix_path(outside_ / "server"));
  fs::permissions(inside_ / "fine", fs::perms::all);
  fs::permissions(outside_ / "server", fs::perms::all);
  fs::create_directory(inside_ / "own");
  fs::permissions(inside_ / "own", fs::perms::all);
  Supervised guard(policy_, [&] {
    HOLDS(chdir(inside_.c_str()) == 0);
    std::atomic<bool> stop = false;
    std::thread swap([&] {
      while (!stop) {
        for (const auto& [server, folder] :
             {std::pair{inside_ / "fine", fs::path("own")}, {outside_ / "server", outside_}}) {
          unlink("next");
          if (symlink(server.c_str(), "next") != 0 || rename("next", "server") != 0) _exit(2);
          if (symlink(folder.c_str(), "next") != 0 || rename("next", "folder") != 0) _exit(2);
        }
      }
    });
    int connected = 0;
    int bound = 0;
    for (int i = 0; i < 500; ++i) {
      const int client = socket(AF_UNIX, SOCK_STREAM, 0);
      if (try_connect(client, unix_path("server")) == 0) ++connected;
      close(client);
      const int server = socket(AF_UNIX, SOCK_STREAM, 0);
      if (try_bind(server, unix_path("folder/" + std::to_string(i))) == 0) ++bound;
      close(server);
    }
    stop = true;
    swap.join();
    HOLDS(connected > 0 && bound > 0);
    return 0;
  });
  EXPECT_EQ(guard.wait(), 0);
  guard.finish();
  EXPECT_GT(fine.accepted, 0);
  EXPECT_EQ(secret.accepted, 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(outside_), {}), 1);
}

}  // namespace
}  // namespace palisade::guard
