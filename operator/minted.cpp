#include "minted.h"

#include <algorithm>

#include <fmt/format.h>

#include "compare.h"
#include "desired/common.h"
#include "json_access.h"

namespace palisade::op {

namespace {

using std::chrono::seconds;
using std::chrono::system_clock;
using tokens::Job;

constexpr seconds kLookAgain{10};
// How long a deletion waits for a host that does not revoke; shorter where what it takes to ask it
// is gone, as when a namespace is deleted.
constexpr seconds kGiveUp{300};
constexpr seconds kGiveUpWithoutCredentials{30};
constexpr seconds kInspectAgain{6 * 3600};
constexpr seconds kInspectFailedAgain{1800};
constexpr int kMergeAttempts = 6;
constexpr std::size_t kMaxTitle = 200;
constexpr std::size_t kMaxTask = 4000;

tokens::Source source_of(const Workspace& w) {
  tokens::Source out;
  if (w.github_app) {
    out.kind = tokens::HostKind::kGithub;
    out.app_id = std::to_string(w.github_app->app_id);
    out.installation_id = w.github_app->installation_id;
    out.secret = w.github_app->private_key.name;
    out.key = w.github_app->private_key.key;
    out.api_url = w.github_app->api_url;
  } else if (w.gitlab) {
    out.kind = tokens::HostKind::kGitlab;
    out.secret = w.gitlab->secret.name;
    out.key = w.gitlab->secret.key;
    out.role = w.gitlab->role;
    out.api_url = w.gitlab->api_url;
  } else if (w.gitea) {
    out.kind = tokens::HostKind::kGitea;
    out.secret = w.gitea->secret;
    out.key = w.gitea->password_key;
    out.username_key = w.gitea->username_key;
    out.api_url = w.gitea->api_url;
  } else if (w.secret) {
    out.mints = false;
    out.secret = w.secret->name;
    out.key = w.secret->key;
  }
  return out;
}

Job job_of(Job::Kind kind, const Workspace& w) {
  Job out;
  out.kind = kind;
  out.ns = w.ns;
  out.name = w.name;
  out.uid = w.uid;
  out.url = w.url;
  out.write = !w.read_only;
  out.source = source_of(w);
  return out;
}

// The Secret as it is made, for the keeper to fill.
Json secret_base(const Workspace& w, const Config& config, bool through_gateway) {
  Json out = through_gateway ? desired_gateway_secret(w, *config.defaults.gateway, "")
                             : desired_secret(w, "");
  out.erase("data");
  return out;
}

const kube::ObjectPtr& secret_of(const Observed& seen, bool through_gateway) {
  return through_gateway ? seen.gateway_secret : seen.secret;
}

tokens::State state_of(const kube::ObjectPtr& secret, const Workspace& w) {
  return secret && owned_by(*secret, w) ? tokens::read_state(*secret) : tokens::State();
}

std::string described(const tokens::Kept& kept) {
  return fmt::format("{} ({}, until {})", kept.record.id.empty() ? "without id" : kept.record.id,
                     kept.record.name, format_time(kept.expires));
}

// The tokens that a state knows, for people to revoke by hand.
std::string listed(const tokens::State& state) {
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ", ") + text; };
  if (state.current) add(described(*state.current));
  for (const tokens::Kept& kept : state.retired)
    add(described(kept));
  if (state.intent) add("one named " + state.intent->name);
  return out;
}

// Of minting and renewing: what a revoking met does not hold those up, nor the other way round.
const std::optional<tokens::Trouble>& trouble_of(const Observed& seen, bool ending) {
  static const std::optional<tokens::Trouble> kNone;
  return seen.memory.ending == ending ? seen.memory.trouble : kNone;
}

void tell_lost(Plan& plan, const Observed& seen) {
  if (seen.memory.busy) return;
  for (const std::string& text : seen.memory.lost)
    plan.events.push_back({true, "TokenNotRevoked", text});
  plan.tokens_told = !seen.memory.lost.empty();
}

}  // namespace

void look_again(Plan& plan, seconds again) {
  again = std::max(again, seconds(1));
  plan.requeue_after = plan.requeue_after ? std::min(*plan.requeue_after, again) : again;
}

void fill_minted(Observed& seen, const Workspace& w, const Config& config,
                 system_clock::time_point now) {
  const bool gateway = seen.access ? git_through_gateway(*seen.access, config.defaults)
                                   : wants_gateway_for_git(w, config.defaults);
  const tokens::State state = state_of(secret_of(seen, gateway), w);
  if (tokens::usable(state, job_of(Job::Kind::kHold, w).wanted(), now)) {
    seen.token = state.current->record.value;
    return;
  }
  const auto& trouble = trouble_of(seen, false);
  seen.token = std::unexpected(
      trouble ? Problem{trouble->problem.reason, trouble->problem.message}
              : Problem{kMintingReason, "a token for the repository is being minted"});
}

void hold_token(Plan& plan, const Observed& seen, const Workspace& w, const Config& config,
                bool through_gateway, system_clock::time_point now) {
  tell_lost(plan, seen);
  if (seen.memory.busy) {
    look_again(plan, kLookAgain);
    return;
  }
  // spec.repository.via has changed: what the other Secret holds is taken back, once its pod is
  // gone.
  const kube::ObjectPtr& other = secret_of(seen, !through_gateway);
  if (!state_of(other, w).empty()) {
    if (!seen.pod) {
      Job job = job_of(Job::Kind::kEnd, w);
      job.secret = secret_base(w, config, !through_gateway);
      const auto& trouble = trouble_of(seen, true);
      if (!trouble || now >= trouble->not_before) plan.token_job = std::move(job);
    }
    look_again(plan, kLookAgain);
    return;
  }
  Job job = job_of(Job::Kind::kHold, w);
  const tokens::State state = state_of(secret_of(seen, through_gateway), w);
  const tokens::Step step =
      tokens::next_step(state, job.wanted(), trouble_of(seen, false), seen.process, now);
  if (step.again) look_again(plan, *step.again);
  if (step.need == tokens::Need::kNothing) return;
  job.secret = secret_base(w, config, through_gateway);
  plan.token_job = std::move(job);
  look_again(plan, kLookAgain);
}

bool end_tokens(Plan& plan, const Observed& seen, const Workspace& w, const Config& config,
                bool last, system_clock::time_point now) {
  const tokens::State states[] = {state_of(seen.secret, w), state_of(seen.gateway_secret, w)};
  const bool gateway = !states[1].empty();
  const tokens::State& state = gateway ? states[1] : states[0];
  const Json& status = child(seen.workspace, "status");
  const bool finished = is_final_phase(text_at(status, "phase"));
  // Where there was a pod there was a token, whatever the Secret says: the host is asked once more.
  const bool sweep =
      last && w.mints() && !finished && !text_at(status, "podName").empty() && !seen.memory.ended;
  tell_lost(plan, seen);
  if (state.empty() && !sweep) return true;
  const auto give_up = [&](const std::string& why) {
    const std::string which = listed(state);
    plan.events.push_back(
        {true, "TokenNotRevoked",
         fmt::format("{} could not be revoked: {}. Revoke by hand what its host still lists: {}",
                     which.empty() ? "what was minted" : "token " + which, why,
                     tokens::name_prefix(w.uid) + "*")});
    return true;
  };
  if (!w.mints())
    return give_up("spec.repository.credentials does not name any more what minted it");
  if (seen.memory.busy) {
    look_again(plan, kLookAgain);
    return false;
  }
  if (const auto& trouble = trouble_of(seen, true)) {
    const std::string& reason = trouble->problem.reason;
    const auto patience =
        reason == "SecretNotFound" || reason == "KeyNotFound" ? kGiveUpWithoutCredentials : kGiveUp;
    const auto since =
        parse_time(text_at(child(seen.workspace, "metadata"), "deletionTimestamp")).value_or(now);
    if (last && now >= since + patience) return give_up(trouble->problem.message);
    if (now < trouble->not_before) {
      look_again(plan, std::min(kLookAgain, std::chrono::ceil<seconds>(trouble->not_before - now)));
      return false;
    }
  }
  Job job = job_of(Job::Kind::kEnd, w);
  job.secret = secret_base(w, config, gateway);
  plan.token_job = std::move(job);
  look_again(plan, kLookAgain);
  return false;
}

void inspect_token(Plan& plan, const Observed& seen, const Workspace& w,
                   system_clock::time_point now) {
  if (!w.secret || !seen.token || seen.token->empty() || seen.memory.busy) return;
  const auto repository = tokens::parse_repository(w.url);
  if (!repository) return;
  const auto kind = tokens::guess_host(*repository, *seen.token);
  if (kind == tokens::HostKind::kUnknown) return;
  if (const auto& known = seen.memory.inspected;
      known && known->token_hash == tokens::token_hash(*seen.token) &&
      now < known->at + (known->problem.empty() ? kInspectAgain : kInspectFailedAgain))
    return;
  Job job = job_of(Job::Kind::kInspect, w);
  job.source.kind = kind;
  job.token = *seen.token;
  plan.token_job = std::move(job);
}

std::string broad_token(const Observed& seen, const Workspace& w, bool through_gateway) {
  if (w.mints()) {
    const tokens::State state = state_of(secret_of(seen, through_gateway), w);
    return state.current ? state.current->broad : std::string();
  }
  const auto& known = seen.memory.inspected;
  if (!known || !seen.token || known->token_hash != tokens::token_hash(*seen.token)) return {};
  return known->inspection.broad ? known->inspection.message : std::string();
}

std::string token_trouble(const Observed& seen) {
  const auto& trouble = trouble_of(seen, false);
  return trouble ? trouble->problem.message : std::string();
}

tokens::MergeRequestWish merge_request_wish(const Workspace& w, const Json& status) {
  tokens::MergeRequestWish out;
  out.head = w.branch;
  out.base = w.ref;
  out.commit = text_at(status, "head");
  out.draft = w.merge_request && w.merge_request->draft;
  out.title = w.merge_request ? w.merge_request->title : std::string();
  if (out.title.empty() && w.task)
    out.title = w.task->message.substr(0, w.task->message.find('\n'));
  if (out.title.empty()) out.title = "Session " + w.name;
  if (out.title.size() > kMaxTitle) {
    std::size_t end = kMaxTitle;
    while (end > 0 && (static_cast<unsigned char>(out.title[end]) & 0xC0U) == 0x80U)
      --end;  // not within a character
    out.title.resize(end);
  }
  const auto count = [](const Json& object, const char* key) {
    const Json& value = child(object, key);
    return value.is_number_integer() ? value.get<std::int64_t>() : 0;
  };
  const Json& audit = child(status, "audit");
  out.body = fmt::format("Session `{}/{}` of Palisade has ended.\n\n", w.ns, w.name);
  out.body += fmt::format("| | |\n|---|---|\n| Commits | {} |\n", count(status, "commits"));
  if (!audit.empty())
    out.body += fmt::format(
        "| Refused by guard | {} attempts: {} programs, {} connections |\n| Findings | {} |\n",
        count(audit, "refusals"), count(audit, "deniedExecs"), count(audit, "deniedConnects"),
        count(audit, "findings"));
  const Json& llm = child(status, "llm");
  if (!llm.empty()) {
    out.body += fmt::format("| LLM requests | {}, {} of them failed |\n", count(llm, "requests"),
                            count(llm, "failures"));
    if (llm.contains("tokens")) out.body += fmt::format("| Tokens | {} |\n", count(llm, "tokens"));
  }
  out.body += fmt::format("| Model | {} |\n", w.model);
  if (w.task) {
    // An indented block: nothing in it is markup, or mentions anybody.
    out.body += "\nThe task was:\n\n    ";
    for (const char c : w.task->message.substr(0, kMaxTask)) {
      if (c == '\r') continue;
      out.body += c;
      if (c == '\n') out.body += "    ";
    }
    out.body += "\n";
  }
  out.body += "\nAn agent wrote these commits: review them as you would a stranger's.\n";
  return out;
}

void open_merge_request(Plan& plan, StatusBuilder& status, const Observed& seen, const Workspace& w,
                        system_clock::time_point now) {
  const Json& last = child(seen.workspace, "status");
  const Json& commits = child(last, "commits");
  if (!w.merge_request || !w.has_credentials() || text_at(last, "phase") != "Succeeded" ||
      !commits.is_number_integer() || commits.get<std::int64_t>() <= 0)
    return;
  const auto tell = [&](const tokens::MergeRequest& made) {
    status.set("mergeRequest", {{"url", made.url}, {"number", made.number}});
    status.condition(kMergeRequestCondition, "True", "Opened",
                     fmt::format("{} is open for review", made.url));
  };
  const Json& told = child(last, "mergeRequest");
  if (const Json& number = child(told, "number"); number.is_number_integer()) {
    tell({text_at(told, "url"), number.get<std::int64_t>(), true});
    return;
  }
  if (seen.memory.merge_request) {
    tell(*seen.memory.merge_request);
    return;
  }
  const auto& trouble = seen.memory.merge_trouble;
  if (!trouble) {
    status.condition(kMergeRequestCondition, "False", "Opening", "it is being opened", true);
  } else {
    const bool over = trouble->failures >= kMergeAttempts;
    status.condition(kMergeRequestCondition, "False", trouble->problem.reason,
                     trouble->problem.message +
                         (over ? "; it is not tried again" : "; it is tried again by itself"));
    if (over) return;
    if (now < trouble->not_before) {
      look_again(plan, std::chrono::ceil<seconds>(trouble->not_before - now));
      return;
    }
  }
  look_again(plan, kLookAgain);
  if (seen.memory.busy || plan.token_job) return;
  Job job = job_of(Job::Kind::kMergeRequest, w);
  if (w.secret) {
    const auto repository = tokens::parse_repository(w.url);
    job.source.kind = repository
                          ? tokens::guess_host(*repository, seen.token.value_or(std::string()))
                          : tokens::HostKind::kUnknown;
    // What is neither of the two is taken for a Gitea: the host says if it is none.
    if (job.source.kind == tokens::HostKind::kUnknown) job.source.kind = tokens::HostKind::kGitea;
  }
  job.wish = merge_request_wish(w, last);
  plan.token_job = std::move(job);
}

}  // namespace palisade::op
