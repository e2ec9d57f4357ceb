// The gateway's HTTP server and client as a plain reverse proxy, to be measured beside another one:
//   gateway_proxy PORT THREADS UPSTREAM_PORT [CERTIFICATE KEY]
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include <gateway/http/client.h>
#include <gateway/http/server.h>

namespace {

using namespace palisade::gateway;
using namespace std::chrono_literals;

std::uint16_t upstream_port = 0;

Task<void> answer_from(Exchange& exchange, Call& call) {
  auto head = co_await call.response(60s);
  if (!head) {
    Fields none;
    std::ignore = co_await exchange.reply(502, std::move(none), head.error().message);
    co_return;
  }
  const auto length = content_length(head->fields);
  head->fields.remove_hop_by_hop();
  const auto begun = co_await exchange.begin(head->status, std::move(head->fields), length);
  if (!begun) co_return;
  for (;;) {
    const auto piece = co_await call.read(60s);
    if (!piece) co_return;
    if (piece->empty()) break;
    const auto written = co_await exchange.write(*piece);
    if (!written) co_return;
  }
  std::ignore = co_await exchange.end();
}

Task<void> proxy(Exchange& exchange) {
  Origin origin;
  origin.tls = false;
  origin.host = "127.0.0.1";
  origin.port = upstream_port;
  auto call = co_await exchange.clients().open(origin, 10s);
  if (!call) {
    Fields none;
    std::ignore = co_await exchange.reply(502, std::move(none), call.error().message);
    co_return;
  }
  exchange.when_gone([raw = call->get()] { raw->abort(); });
  RequestHead head = exchange.request();
  const auto length = exchange.content_length();
  head.fields.remove_hop_by_hop();
  const auto sent = co_await (*call)->send(std::move(head), length);
  if (!sent) co_return;
  if (length.value_or(1) > 0) {
    for (;;) {
      const auto piece = co_await exchange.read();
      if (!piece) co_return;
      if (piece->empty()) break;
      const auto written = co_await (*call)->write(*piece);
      if (!written) co_return;
    }
    const auto finished = co_await (*call)->finish();
    if (!finished) co_return;
  }
  co_await answer_from(exchange, **call);
}

std::string read_file(const char* name) {
  std::ifstream in(name);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 6) {
    std::fprintf(stderr, "gateway_proxy PORT THREADS UPSTREAM_PORT [CERTIFICATE KEY]\n");
    return 2;
  }
  ServerOptions options;
  options.address = "127.0.0.1";
  options.port = static_cast<std::uint16_t>(std::atoi(argv[1]));
  options.threads = std::atoi(argv[2]);
  upstream_port = static_cast<std::uint16_t>(std::atoi(argv[3]));
  if (argc == 6) options.tls = ServingIdentity{read_file(argv[4]), read_file(argv[5])};
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Server server(options, proxy);
  if (const auto started = server.start(); !started) {
    std::fprintf(stderr, "gateway_proxy: %s\n", started.error().message.c_str());
    return 1;
  }
  std::printf("ready\n");
  std::fflush(stdout);
  int got = 0;
  sigwait(&signals, &got);
  server.stop(1s);
  return 0;
}
