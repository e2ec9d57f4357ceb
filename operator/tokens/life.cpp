#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include <kube/base64.h>
#include <operator/tokens/life.h>

#include "api.h"
#include "text.h"

namespace palisade::op::tokens {

namespace {

using std::chrono::seconds;

constexpr std::size_t kMostRetired = 32;
constexpr std::size_t kMaxState = 64 * 1024;
constexpr std::size_t kMaxName = 200;
constexpr seconds kFirstPause{5};
constexpr seconds kLongestPause{300};
constexpr const char* kTokenKey = "token";
constexpr const char* kUsernameKey = "username";

std::string retired_key(const Kept& kept) {
  return "retired-" + kept.record.name;
}

// A name that can be a Secret's key and a path's segment.
bool is_name(const std::string& text) {
  return text.starts_with("palisade-") && text.size() <= kMaxName &&
         std::ranges::all_of(
             text, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '.'; });
}

std::string value_at(const Json& secret, const std::string& key) {
  const auto decoded = decode_base64(text_of(member_of(secret, "data"), key.c_str()));
  return decoded && is_word(*decoded, kMaxToken) ? *decoded : std::string();
}

std::optional<Kept> read_kept(const Json& json) {
  Kept out;
  out.record.name = text_of(json, "name");
  out.record.id = text_of(json, "id");
  const auto minted = parse_time(text_of(json, "minted"));
  const auto expires = parse_time(text_of(json, "expires"));
  const bool id =
      out.record.id.empty() || (out.record.id.size() <= 20 &&
                                out.record.id.find_first_not_of("0123456789") == std::string::npos);
  if (!is_name(out.record.name) || !id || !minted || !expires) return std::nullopt;
  out.minted = *minted;
  out.expires = *expires;
  out.source = printable(text_of(json, "source"), 64);
  out.write = member_of(json, "write") == true;
  out.broad = printable(text_of(json, "broad"), 400);
  out.since = parse_time(text_of(json, "since"));
  return out;
}

Json to_json(const Kept& kept) {
  Json out{{"name", kept.record.name},
           {"id", kept.record.id},
           {"minted", format_time(kept.minted)},
           {"expires", format_time(kept.expires)},
           {"source", kept.source},
           {"write", kept.write}};
  if (!kept.broad.empty()) out["broad"] = kept.broad;
  if (kept.since) out["since"] = format_time(*kept.since);
  return out;
}

Time end_of_grace(const Kept& retired, const Wanted& wanted) {
  const Time since = retired.since.value_or(Time{});
  // A session that may not push any more has no push in flight to wait for.
  return retired.write && !wanted.write ? since : since + kGrace;
}

}  // namespace

State read_state(const Json& secret) {
  State out;
  const std::string text =
      text_of(member_of(member_of(secret, "metadata"), "annotations"), kStateAnnotation);
  if (text.empty() || text.size() > kMaxState) return out;
  const Json json = parse_json(text);
  const Json& intent = member_of(json, "intent");
  const std::string name = text_of(intent, "name");
  const auto at = parse_time(text_of(intent, "at"));
  if (is_name(name) && at) out.intent = Intent{name, *at, text_of(intent, "by")};
  out.current = read_kept(member_of(json, "current"));
  if (out.current) out.current->record.value = value_at(secret, kTokenKey);
  const Json& retired = member_of(json, "retired");
  if (!retired.is_array()) return out;
  for (const Json& entry : retired) {
    auto kept = read_kept(entry);
    if (!kept || out.retired.size() == kMostRetired) continue;
    kept->record.value = value_at(secret, retired_key(*kept));
    out.retired.push_back(std::move(*kept));
  }
  return out;
}

Json state_patch(const State& before, const State& after, const std::string& username) {
  Json state = Json::object();
  Json data = Json::object();
  if (after.intent)
    state["intent"] = {{"name", after.intent->name},
                       {"at", format_time(after.intent->at)},
                       {"by", after.intent->by}};
  for (const Kept& kept : before.retired)
    data[retired_key(kept)] = nullptr;
  if (after.current) {
    state["current"] = to_json(*after.current);
    data[kTokenKey] = kube::encode_base64(after.current->record.value);
    data[kUsernameKey] = kube::encode_base64(username);
  } else {
    data[kTokenKey] = nullptr;
    data[kUsernameKey] = nullptr;
  }
  for (const Kept& kept : after.retired) {
    state["retired"].push_back(to_json(kept));
    // An id is enough elsewhere; what is not needed is not kept.
    if (kept.record.id.empty() && !kept.record.value.empty())
      data[retired_key(kept)] = kube::encode_base64(kept.record.value);
  }
  Json out;
  out["metadata"]["annotations"][kStateAnnotation] = state.empty() ? Json() : Json(state.dump());
  out["data"] = std::move(data);
  return out;
}

Time renew_at(const Kept& kept) {
  return kept.minted + (kept.expires - kept.minted) / 3 * 2;
}

bool usable(const State& state, const Wanted& wanted, Time now) {
  return state.current && !state.current->record.value.empty() &&
         state.current->source == wanted.source && state.current->write == wanted.write &&
         state.current->expires > now;
}

bool due(const Kept& retired, const Wanted& wanted, Time now) {
  return now >= std::min(end_of_grace(retired, wanted), retired.expires);
}

Step next_step(const State& state, const Wanted& wanted, const std::optional<Trouble>& trouble,
               const std::string& by, Time now) {
  const auto until = [&](Time at) { return std::chrono::ceil<seconds>(at - now); };
  if (trouble && now < trouble->not_before) return {Need::kNothing, until(trouble->not_before)};
  std::optional<Time> lease;
  // A clock that was put back must not make the lease endless.
  if (state.intent && state.intent->by != by && state.intent->at <= now + kIntentLease)
    lease = state.intent->at + kIntentLease;
  const bool leased = lease && now < *lease;
  const bool has = usable(state, wanted, now);
  if (leased && (!has || now >= renew_at(*state.current))) return {Need::kNothing, until(*lease)};
  if (!has) return {Need::kMint, {}};
  if (now >= renew_at(*state.current)) return {Need::kRenew, {}};
  Time next = renew_at(*state.current);
  if (state.intent && !leased) return {Need::kRevoke, {}};
  if (leased) next = std::min(next, *lease);
  for (const Kept& kept : state.retired) {
    if (due(kept, wanted, now)) return {Need::kRevoke, {}};
    next = std::min({next, end_of_grace(kept, wanted), kept.expires});
  }
  return {Need::kNothing, until(next)};
}

std::string name_prefix(const std::string& uid) {
  return "palisade-" + uid + "-";
}

std::string next_name(const Wanted& wanted, Time now, const std::string& by) {
  return fmt::format(
      "{}{}-{}", name_prefix(wanted.uid),
      std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count(), by);
}

Trouble after_failure(const std::optional<Trouble>& before, Problem problem, Time now) {
  Trouble out;
  out.failures = before ? std::min(before->failures + 1, 100) : 1;
  seconds pause = kFirstPause;
  for (int i = 1; i < out.failures && pause < kLongestPause; ++i)
    pause *= 2;
  pause = std::min(pause, kLongestPause);
  if (problem.retry_after) pause = std::max(pause, *problem.retry_after);
  out.not_before = now + pause;
  out.problem = std::move(problem);
  return out;
}

bool surely_not_minted(const Problem& problem) {
  constexpr std::array<std::string_view, 5> kNo{"AppKeyInvalid", "AppNotInstalled",
                                                "CredentialsRefused", "PermissionMissing",
                                                "RepositoryNotFound"};
  return std::ranges::find(kNo, problem.reason) != kNo.end();
}

}  // namespace palisade::op::tokens
