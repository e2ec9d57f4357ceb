#include "exec_plugin.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <optional>

#include <unistd.h>

#include <kube/rfc3339.h>

#include "run_program.h"
#include "status_error.h"
#include "tls.h"

namespace kube {

namespace {

using Json = nlohmann::json;
using Wall = std::chrono::system_clock;

// A command that is no path, where a shell would find it; never in the folder that we are in.
std::string find_program(const std::string& command) {
  if (command.find('/') != std::string::npos) return command;
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const std::string_view folder = rest.substr(0, colon);
    if (folder.starts_with('/')) {
      std::string file = std::string(folder) + "/" + command;
      std::error_code ignored;  // then it is none
      if (std::filesystem::is_regular_file(file, ignored) && access(file.c_str(), X_OK) == 0)
        return file;
    }
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  return {};
}

// RFC 3339 with any offset from UTC.
std::optional<Wall::time_point> time_of(const std::string& text) {
  constexpr std::size_t kOffset = 6;  // +HH:MM
  if (text.size() <= kOffset || text.ends_with('Z')) return parse_rfc3339(text);
  const std::string offset = text.substr(text.size() - kOffset);
  const auto at = parse_rfc3339(text.substr(0, text.size() - kOffset) + "Z");
  int hours = 0;
  int minutes = 0;
  const bool read =
      std::from_chars(offset.data() + 1, offset.data() + 3, hours).ptr == offset.data() + 3 &&
      std::from_chars(offset.data() + 4, offset.data() + 6, minutes).ptr == offset.data() + 6;
  if (!at || !read || offset[3] != ':' || (offset[0] != '+' && offset[0] != '-') || hours < 0 ||
      hours > 23 || minutes < 0 || minutes > 59)
    return std::nullopt;
  const auto ahead = std::chrono::hours(hours) + std::chrono::minutes(minutes);
  return offset[0] == '+' ? *at - ahead : *at + ahead;
}

std::vector<std::string> environment_of(const ExecPlugin& plugin, const Json& info) {
  auto added = plugin.environment;
  added.emplace_back("KUBERNETES_EXEC_INFO", info.dump());
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto name = text.substr(0, text.find('='));
    if (std::ranges::none_of(added, [name](const auto& one) { return one.first == name; }))
      out.emplace_back(text);
  }
  for (const auto& [name, value] : added)
    out.push_back(name + "=" + value);
  return out;
}

}  // namespace

struct ExecCredentials::State {
  std::mutex running;  // at most one program; held while it runs
  mutable std::mutex mutex;
  std::uint64_t generation = 0;  // 0: none yet
  bool good = false;
  std::optional<Wall::time_point> expires;
  std::string token;
  std::string certificate;
  std::string key;

  // What there is now, 0 where nothing holds.
  [[nodiscard]] std::uint64_t held() const {
    const std::scoped_lock lock(mutex);
    return good && (!expires || Wall::now() < *expires) ? generation : 0;
  }
};

ExecCredentials::ExecCredentials(ExecPlugin plugin)
    : plugin_(std::move(plugin)), state_(std::make_unique<State>()) {}
ExecCredentials::~ExecCredentials() = default;

std::string ExecCredentials::token() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->token;
}

std::pair<std::string, std::string> ExecCredentials::identity() const {
  const std::scoped_lock lock(state_->mutex);
  return {state_->certificate, state_->key};
}

void ExecCredentials::refuse(std::uint64_t which) {
  const std::scoped_lock lock(state_->mutex);
  if (state_->generation == which) state_->good = false;
}

Result<std::uint64_t> ExecCredentials::obtain(const std::stop_token& stop) {
  if (const auto held = state_->held(); held != 0) return held;
  const std::scoped_lock running(state_->running);
  if (const auto held = state_->held(); held != 0) return held;  // somebody else's run gave it
  const auto fault = [&](const std::string& why) {
    return std::unexpected(Error{0, "InvalidConfiguration", plugin_.where + why, {}, {}});
  };
  const std::string hint = plugin_.install_hint.empty() ? "" : "; " + plugin_.install_hint;
  ProgramRun run;
  run.file = find_program(plugin_.command);
  if (run.file.empty())
    return fault(".command: " + plugin_.command + " is not on PATH; install it, or write its path" +
                 hint);
  run.keep_input =
      plugin_.interactive != ExecPlugin::Interactive::kNever && isatty(STDIN_FILENO) == 1;
  if (plugin_.interactive == ExecPlugin::Interactive::kAlways && !run.keep_input)
    return fault(".interactiveMode is Always and standard input is no terminal; run it at one");
  run.arguments = plugin_.arguments;
  run.longest = run.keep_input ? plugin_.longest_asking : plugin_.longest;
  Json info{{"kind", "ExecCredential"},
            {"apiVersion", plugin_.api_version},
            {"spec", {{"interactive", run.keep_input}}}};
  if (plugin_.cluster.is_object()) info["spec"]["cluster"] = plugin_.cluster;
  run.environment = environment_of(plugin_, info);

  const std::string who = ": " + plugin_.command + " ";
  auto end = run_program(run, stop);
  if (!end) {
    end.error().message = plugin_.where + who + end.error().message + hint;
    return std::unexpected(std::move(end.error()));
  }
  if (end->code != 0)
    return fault(who + "ended with exit code " + std::to_string(end->code) +
                 "; what it said stands above, and running it by itself says more" + hint);
  const Json answer = Json::parse(end->output, nullptr, false);
  if (text_at(answer, "kind") != "ExecCredential")
    return fault(who + "did not print an ExecCredential");
  if (text_at(answer, "apiVersion") != plugin_.api_version)
    return fault(who + "answers with another apiVersion than " + plugin_.api_version +
                 ", which .apiVersion names; change that to what the program speaks");
  const auto status = answer.find("status");
  if (status == answer.end() || !status->is_object())
    return fault(who + "gives no credentials: its answer has no status");
  const std::string token = text_at(*status, "token");
  const std::string certificate = text_at(*status, "clientCertificateData");
  const std::string key = text_at(*status, "clientKeyData");
  if (token.empty() && certificate.empty() && key.empty())
    return fault(who + "gives neither a token nor a client certificate");
  if (token.find_first_of("\r\n") != std::string::npos)
    return fault(who + "gives a token with a line break");
  if (certificate.empty() != key.empty())
    return fault(who +
                 "gives half an identity: clientCertificateData and clientKeyData go together");
  if (!certificate.empty()) {
    if (const std::string wrong = identity_fault(certificate, key); !wrong.empty())
      return fault(who + "gives an identity that is refused: " + wrong);
  }
  std::optional<Wall::time_point> expires;
  if (const std::string text = text_at(*status, "expirationTimestamp"); !text.empty()) {
    expires = time_of(text);
    if (!expires) return fault(who + "gives an expirationTimestamp that is no RFC 3339 time");
    if (*expires <= Wall::now())
      return fault(who +
                   "gives credentials that have expired; see that this machine's clock is right");
  }
  const std::scoped_lock lock(state_->mutex);
  state_->token = token;
  state_->certificate = certificate;
  state_->key = key;
  state_->expires = expires;
  state_->good = true;
  return ++state_->generation;
}

}  // namespace kube
