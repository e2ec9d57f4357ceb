#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include <spdlog/spdlog.h>

#include <operator/tokens/orphans.h>

#include "api.h"

namespace palisade::op::tokens {

namespace {

using kube::resources::kSecrets;

constexpr std::uint32_t kPage = 100;  // Secrets; no more are held at once

std::string listed(const State& state) {
  std::string out;
  const auto add = [&](const Kept& kept) {
    out += (out.empty() ? "" : ", ") + kept.record.name +
           (kept.record.id.empty() ? "" : " (id " + kept.record.id + ")");
  };
  if (state.current) add(*state.current);
  std::ranges::for_each(state.retired, add);
  if (state.intent) out += (out.empty() ? "" : ", ") + state.intent->name;
  return out;
}

}  // namespace

OrphanSweep::OrphanSweep(std::shared_ptr<const kube::Client> client,
                         std::shared_ptr<const Steward> steward, OrphanOptions options)
    : client_(std::move(client)), steward_(std::move(steward)), options_(std::move(options)) {}

OrphanSweep::~OrphanSweep() = default;

void OrphanSweep::start() {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any never;
    const auto wait = [&](std::chrono::milliseconds time) {
      std::unique_lock lock(mutex);
      never.wait_for(lock, stop, time, [] { return false; });
    };
    for (wait(options_.first); !stop.stop_requested(); wait(options_.every)) {
      if (const int gone = sweep(stop); gone > 0)
        spdlog::warn("{} git tokens of workspaces that are gone were taken out of namespace {}",
                     gone, options_.ns);
    }
  });
}

int OrphanSweep::sweep(const std::stop_token& stop) const {
  kube::ListOptions which;
  which.ns = options_.ns;
  which.label_selector = options_.selector;
  which.limit = kPage;
  int gone = 0;
  do {
    const auto page = client_->list_page(kSecrets, which, stop);
    if (!page) {
      if (!stop.stop_requested())
        spdlog::warn(
            "Secrets of namespace {} cannot be looked through for those that are left over: {}",
            options_.ns, page.error().text());
      return gone;
    }
    for (const Json& secret : page->items) {
      if (stop.stop_requested()) return gone;
      if (one(secret, stop) == Done::kGone) ++gone;
    }
    if (page->continue_token == which.continue_token) break;
    which.continue_token = page->continue_token;
  } while (!which.continue_token.empty());
  return gone;
}

// Only where the API server says that there is no such workspace, or another of that name: an
// operator that may not look there, or is not answered, leaves it.
bool OrphanSweep::orphan(const std::string& workspace, const std::string& uid,
                         const std::stop_token& stop) const {
  const std::size_t slash = workspace.find('/');
  if (slash == 0 || slash == std::string::npos || slash + 1 == workspace.size()) return false;
  const std::string ns = workspace.substr(0, slash);
  if (!options_.namespaces.empty() &&
      std::ranges::find(options_.namespaces, ns) == options_.namespaces.end())
    return false;
  if (options_.lives && options_.lives(workspace, uid)) return false;
  const auto there = client_->get(options_.workspaces, ns, workspace.substr(slash + 1), stop);
  if (there) return text_of(member_of(*there, "metadata"), "uid") != uid;
  return there.error().is_not_found();
}

OrphanSweep::Done OrphanSweep::one(const Json& secret, const std::stop_token& stop) const {
  const Json& metadata = member_of(secret, "metadata");
  const std::string name = text_of(metadata, "name");
  const std::string workspace =
      text_of(member_of(metadata, "annotations"), options_.annotation.c_str());
  if (!name.starts_with(options_.prefix) || !member_of(metadata, "deletionTimestamp").is_null())
    return Done::kNone;
  const std::string uid = name.substr(options_.prefix.size());
  if (uid.empty() || !orphan(workspace, uid, stop)) return Done::kNone;
  if (!take_back(secret, uid, workspace, stop)) return Done::kStays;
  kube::DeleteOptions options;
  options.uid = text_of(metadata, "uid");
  const auto removed = client_->remove(kSecrets, options_.ns, name, options, stop);
  if (removed || removed.error().is_not_found()) return Done::kGone;
  spdlog::warn("Secret {} of workspace {}, which is gone: {}", name, workspace,
               removed.error().text());
  return Done::kStays;
}

// True where the Secret may go.
bool OrphanSweep::take_back(const Json& secret, const std::string& uid,
                            const std::string& workspace, const std::stop_token& stop) const {
  const State state = read_state(secret);
  auto job = minted_by(secret);
  if (!job) {
    if (!state.empty())
      spdlog::warn("workspace {} is gone, and nothing says what minted {}: revoke it by hand",
                   workspace, listed(state));
    return true;
  }
  const std::size_t slash = workspace.find('/');
  job->kind = Job::Kind::kEnd;
  job->ns = workspace.substr(0, slash);
  job->name = workspace.substr(slash + 1);
  job->uid = uid;
  job->secret = {
      {"metadata", {{"name", secret.at("metadata").at("name")}, {"namespace", options_.ns}}}};
  const Memory after = steward_->run(*job, {}, stop);
  for (const std::string& text : after.lost)
    spdlog::warn("workspace {} is gone: {}", workspace, text);
  if (!after.trouble) return true;
  const Problem& problem = after.trouble->problem;
  // Nobody will bring them back for a workspace that is gone.
  const bool never = problem.reason == "SecretNotFound" || problem.reason == "KeyNotFound";
  if (never && !state.empty())
    spdlog::warn("workspace {} is gone, and so is what could revoke {} (tokens named {}*): {}",
                 workspace, listed(state), name_prefix(uid), problem.message);
  else if (!never)
    spdlog::warn("workspace {} is gone, its tokens are not yet revoked: {}", workspace,
                 problem.message);
  return never;
}

}  // namespace palisade::op::tokens
