// Slow event streams: who sends them, and who reads many at once and says how late their events
// came.
//   gateway_streams serve PORT INTERVAL_MS
//   gateway_streams read SECONDS (PORT COUNT AUTHORITIES|-)...
// reads all of these at the same time, on one thread, and prints one JSON line for each.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <gateway/http/client.h>
#include <gateway/http/server.h>

#include "pool.h"
#include "stream.h"

namespace {

using namespace palisade::gateway;
using namespace std::chrono_literals;

std::int64_t now_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::chrono::milliseconds interval = 1s;

Task<void> send_events(Exchange& exchange) {
  Fields fields;
  fields.add("Content-Type", "text/event-stream");
  std::ignore = co_await exchange.begin(200, std::move(fields), std::nullopt);
  // The streams do not speak all at the same time.
  static int next = 0;
  const auto executor = co_await boost::asio::this_coro::executor;
  boost::asio::steady_timer timer(executor, interval * (next++ % 997) / 997);
  for (;;) {
    co_await timer.async_wait(boost::asio::use_awaitable);
    // As large as a token's event of a chat completion.
    const std::string event = "data: {\"at\":" + std::to_string(now_us()) + ",\"x\":\"" +
                              std::string(220, 'x') + "\"}\n\n";
    const auto written = co_await exchange.write(event);
    if (!written) co_return;
    timer.expires_at(timer.expiry() + interval);
  }
}

struct Seen {
  Origin origin;
  int count = 0;
  std::vector<std::int64_t> late_us;
  std::vector<std::int64_t> worst_us;  // of each stream
  std::int64_t open = 0;
  std::int64_t failed = 0;
};
bool counting = false;

Task<void> read_events(Clients& clients, Seen& seen, std::size_t number) {
  auto call = co_await clients.open(seen.origin, 60s);
  if (!call) {
    ++seen.failed;
    co_return;
  }
  RequestHead head;
  head.method = "GET";
  head.target = "/events";
  const auto sent = co_await (*call)->send(std::move(head), 0);
  const auto answer = co_await (*call)->response(60s);
  if (!sent || !answer || answer->status != 200) {
    ++seen.failed;
    co_return;
  }
  ++seen.open;
  for (;;) {
    const auto piece = co_await (*call)->read(60s);
    if (!piece || piece->empty()) {
      if (!piece && piece.error().fault == Fault::kStopped) co_return;
      ++seen.failed;
      co_return;
    }
    const std::int64_t now = now_us();
    static constexpr std::string_view kBegin = "data: {\"at\":";
    for (std::size_t at = piece->find(kBegin); at != std::string_view::npos;
         at = piece->find(kBegin, at + 1)) {
      std::int64_t then = 0;
      std::from_chars(piece->data() + at + kBegin.size(), piece->data() + piece->size(), then);
      if (!counting) continue;
      seen.late_us.push_back(now - then);
      seen.worst_us[number] = std::max(seen.worst_us[number], now - then);
    }
  }
}

Task<void> orchestrate(Loop& loop, Clients& clients, int seconds, std::vector<Seen>& sets) {
  boost::asio::steady_timer timer(loop.io());
  for (Seen& seen : sets) {
    for (int i = 0; i < seen.count; ++i) {
      boost::asio::co_spawn(loop.io(), read_events(clients, seen, static_cast<std::size_t>(i)),
                            boost::asio::detached);
      // Handshakes are not what is measured.
      timer.expires_after(2ms);
      co_await timer.async_wait(boost::asio::use_awaitable);
    }
  }
  const auto all_there = [&] {
    return std::ranges::all_of(
        sets, [](const Seen& seen) { return seen.open + seen.failed >= seen.count; });
  };
  while (!all_there()) {
    timer.expires_after(10ms);
    co_await timer.async_wait(boost::asio::use_awaitable);
  }
  timer.expires_after(interval * 2);
  co_await timer.async_wait(boost::asio::use_awaitable);
  counting = true;
  timer.expires_after(std::chrono::seconds(seconds));
  co_await timer.async_wait(boost::asio::use_awaitable);
  counting = false;
  loop.abort_all();
  timer.expires_after(200ms);
  co_await timer.async_wait(boost::asio::use_awaitable);
  loop.stop();
}

std::int64_t quantile(std::vector<std::int64_t>& values, double part) {
  if (values.empty()) return -1;
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(part * static_cast<double>(values.size() - 1))];
}

int read_all(int seconds, std::vector<Seen> sets) {
  std::signal(SIGPIPE, SIG_IGN);
  Loop loop;
  auto clients = make_clients(loop, std::make_shared<Workers>(1, 1));
  boost::asio::co_spawn(loop.io(), orchestrate(loop, *clients, seconds, sets),
                        boost::asio::detached);
  loop.run();
  loop.shutdown();
  for (Seen& seen : sets) {
    std::printf(
        "{\"open\":%lld,\"failed\":%lld,\"events\":%zu,\"p50\":%lld,\"p99\":%lld,"
        "\"p999\":%lld,\"max\":%lld,\"worst_of_half\":%lld}\n",
        static_cast<long long>(seen.open), static_cast<long long>(seen.failed), seen.late_us.size(),
        static_cast<long long>(quantile(seen.late_us, 0.5)),
        static_cast<long long>(quantile(seen.late_us, 0.99)),
        static_cast<long long>(quantile(seen.late_us, 0.999)),
        static_cast<long long>(quantile(seen.late_us, 1)),
        static_cast<long long>(quantile(seen.worst_us, 0.5)));
  }
  return 0;
}

int serve(std::uint16_t port) {
  ServerOptions options;
  options.address = "127.0.0.1";
  options.port = port;
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Server server(options, send_events);
  if (const auto started = server.start(); !started) {
    std::fprintf(stderr, "gateway_streams: %s\n", started.error().message.c_str());
    return 1;
  }
  int got = 0;
  sigwait(&signals, &got);
  server.stop(0ms);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  const auto number = [&](int at) { return argc > at ? std::atoi(argv[at]) : 0; };
  if (command == "serve" && argc == 4) {
    interval = std::chrono::milliseconds(number(3));
    return serve(static_cast<std::uint16_t>(number(2)));
  }
  if (command == "read" && argc >= 6 && argc % 3 == 0) {
    std::vector<Seen> sets;
    for (int at = 3; at < argc; at += 3) {
      Seen& seen = sets.emplace_back();
      seen.count = number(at + 1);
      seen.worst_us.resize(static_cast<std::size_t>(std::max(0, seen.count)));
      seen.origin.host = "127.0.0.1";
      seen.origin.port = static_cast<std::uint16_t>(number(at));
      seen.origin.tls = std::string(argv[at + 2]) != "-";
      if (!seen.origin.tls) continue;
      std::ifstream in(argv[at + 2]);
      seen.origin.authorities.assign(std::istreambuf_iterator<char>(in), {});
    }
    return read_all(number(2), std::move(sets));
  }
  std::fprintf(stderr,
               "gateway_streams serve PORT INTERVAL_MS\n"
               "gateway_streams read SECONDS (PORT COUNT AUTHORITIES|-)...\n");
  return 2;
}
