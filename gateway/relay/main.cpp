// palisade-relay: the sidecar through which an agent's pod reaches the gateway, and nothing else.
#include <csignal>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

#include <gateway/relay/relay.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

namespace {

using namespace palisade::gateway::relay;

constexpr const char* kAbout =
    "Listens on the pod's loopback and passes requests on to the gateway over TLS, with the "
    "session's ServiceAccount token in place of whatever the caller sent. The agent beside it "
    "needs "
    "no key, no token and no route of its own.";

constexpr const char* kMore = R"(How it is used in a pod:
  palisade-relay serve  --config /etc/palisade/relay.json   the sidecar, until SIGTERM
  palisade-relay ready  --config /etc/palisade/relay.json   its startup probe
  palisade-relay status --config /etc/palisade/relay.json   what it has passed on so far
  palisade-relay with   --config /etc/palisade/relay.json -- PROGRAM WORDS...   serves while the program runs

The agent is told OPENAI_API_BASE=http://127.0.0.1:4000/v1 and OPENAI_API_KEY=none.

relay.json:
  {"routes": [{"name": "llm",                      git is answered in plain text, others as OpenAI does
               "listen": "127.0.0.1:4000",         loopback alone
               "path": "/v1",                      what is below it goes to url; the rest is a 404
               "url": "https://gateway:8443/v1",
               "address": "10.96.3.4",             connect here; without it the url's host is looked up
               "tokenFile": "/run/token",          read again as it rotates; without it no Authorization
               "caFile": "/run/ca.pem"}],          the only authorities; without it the system's
   "archive": {"url": "https://gateway:8443/archive",   where what guard writes is sent; absent: nowhere
               "address": "10.96.3.4", "tokenFile": "/run/token", "caFile": "/run/ca.pem",
               "record": "/palisade/record/record.jsonl", "output": "/palisade/record/output.log"},
   "terminationLog": "/dev/termination-log"}

Exit codes: 0 done, 1 failed (`ready`: not yet), 2 relay.json or the command line is wrong.)";

// The pod may be there before its session (a pool's). False: SIGTERM came first.
bool wait_for_file(const std::string& file) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  while (::access(file.c_str(), F_OK) != 0) {
    constexpr timespec kPoll{0, 50'000'000};
    if (const int got = ::sigtimedwait(&signals, nullptr, &kPoll); got == SIGTERM || got == SIGINT)
      return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  // Few threads and small pieces: one arena, and what is free goes back to the kernel.
  ::mallopt(M_ARENA_MAX, 1);
  ::mallopt(M_TRIM_THRESHOLD, 64 * 1024);
  // Nor does it need what the machine's openssl.cnf may load.
  ::OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr);
  CLI::App app{kAbout};
  app.footer(kMore);
  app.set_version_flag("--version", PALISADE_VERSION);
  app.require_subcommand(1);
  std::string file = "/etc/palisade/relay.json";
  bool wait = false;
  std::function<int(const Config&)> command;
  const auto add = [&](const char* name, const char* help, int (*run)(const Config&)) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->add_option("--config", file, "the session's relay.json")->capture_default_str();
    sub->callback([&command, run] { command = run; });
    return sub;
  };
  add("serve", "listen and pass on, until SIGTERM; then what is in flight has 30 seconds", serve)
      ->add_flag("--wait", wait, "where relay.json is not there yet, wait until it is");
  std::vector<std::string> words;
  CLI::App* const with_command =
      app.add_subcommand("with", "serve while one command runs, and end with it");
  with_command->add_option("--config", file, "relay.json")->capture_default_str();
  with_command->add_option("command", words, "the command's path and its words, after --")
      ->required();
  with_command->callback(
      [&] { command = [&](const Config& config) { return with(config, file, words); }; });
  add("ready", "exit 0 once all routes listen", ready);
  add("status", "print one JSON line: requests, failures, bytes and idle time", status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  // Before any thread is: they inherit it.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  if (wait && !wait_for_file(file)) return 0;
  const auto config = load_config(file);
  if (!config) {
    std::cerr << "palisade-relay: " << config.error() << "\n";
    return 2;
  }
  return command(*config);
}
