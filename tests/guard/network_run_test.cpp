// The network as a program sees it under the whole of guard: filter, Landlock domain and judges, an
// unprivileged guard that nobody can look into.
#include "guard/guarded.h"
#include "network.h"

namespace palisade::guard::testing {
namespace {

const auto* const kNetwork = ::testing::AddGlobalTestEnvironment(new OwnNetwork);

TEST(NetworkRun, ConnectsToThePolicysAddressesAndToNothingElse) {
  const Folder folder;
  EchoServer server("127.0.0.1");
  EchoServer foreign(kForeign);
  auto policy = policy_for(folder);
  policy.network.connect = {{"127.0.0.1/32", server.port(), 0}};
  const auto ran = run_python(policy, "fine = ('127.0.0.1', " + std::to_string(server.port()) +
                                          ")\nforeign = ('10.66.0.1', " +
                                          std::to_string(foreign.port()) + ")\n" + R"(
import asyncio, errno, socket, urllib.request
def error(work):
    try: work()
    except OSError as problem: return errno.errorcode[problem.errno or 0]
    return 'none'
for timeout in (None, 20):
    with socket.create_connection(fine, timeout) as made:
        made.sendall(b'ping')
        assert made.recv(4) == b'ping'
async def main():
    reader, writer = await asyncio.open_connection(*fine)
    writer.write(b'ping')
    assert await reader.readexactly(4) == b'ping'
    writer.close()
    await writer.wait_closed()
asyncio.run(main())
print(error(lambda: socket.create_connection(foreign)))
print(error(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
print(error(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)))
print(error(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)))
print(error(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)))
print(error(lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)))
print(error(lambda: socket.socket().sendto(b'x', 0x20000000, foreign)))
print(error(lambda: socket.socket().sendto(b'x', foreign)))
print(error(lambda: socket.socket().setsockopt(6, 30, 1)))
print(error(lambda: socket.socket().listen(1)))
print(error(lambda: socket.socket().bind(('127.0.0.1', 0))))
print(error(lambda: socket.socket(socket.AF_UNIX).bind('\0name')))
print(error(lambda: socket.socket(socket.AF_UNIX).connect('\0name')))
try: socket.getaddrinfo('example.org', 80)
except socket.gaierror: print('no name')
print(socket.getaddrinfo('localhost', 80, socket.AF_INET, socket.SOCK_STREAM)[0][4])
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output,
            "EACCES\nEPROTONOSUPPORT\nEPROTONOSUPPORT\nEAFNOSUPPORT\nEAFNOSUPPORT\n"
            "EPROTONOSUPPORT\nEPERM\nEPIPE\nEPERM\nEACCES\nEACCES\nEACCES\nEACCES\nno name\n"
            "('127.0.0.1', 80)\n")
      << ran.all();
  EXPECT_TRUE(eventually([&] { return server.ended == 3; })) << server.ended;
  EXPECT_EQ(foreign.accepted, 0);
  EXPECT_EQ(ran.count("Refused network.connect connect 10.66.0.1:"), 1U) << ran.all();
  EXPECT_EQ(ran.count("Refused network.unix-abstract"), 2U) << ran.all();
}

TEST(NetworkRun, OwnListenersAndUnixSockets) {
  const Folder folder;
  auto policy = policy_for(folder);
  policy.network.own_listeners = true;
  const auto ran = run_python(policy, R"(
import http.server, multiprocessing, os, socket, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'hello')
    def log_message(self, *arguments): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen('http://127.0.0.1:%d/' % server.server_port).read())
server.shutdown()

unix = socket.socket(socket.AF_UNIX)
unix.bind('here')
unix.listen()
print(unix.getsockname() == os.getcwd() + '/here')
client = socket.socket(socket.AF_UNIX)
client.connect('here')
peer = unix.accept()[0]
peer.send(b'x')
print(client.recv(1))
os.environ['TMPDIR'] = os.getcwd()
import tempfile
tempfile.tempdir = os.getcwd()
with multiprocessing.Manager() as manager:
    print(list(manager.list([1, 2, 3])))
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "b'hello'\nTrue\nb'x'\n[1, 2, 3]\n") << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
}

}  // namespace
}  // namespace palisade::guard::testing
