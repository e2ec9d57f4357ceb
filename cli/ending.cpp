#include "ending.h"

#include <ostream>

#include <cli/cli.h>

#include "json_at.h"

namespace palisade::cli {
namespace {

using kube::Json;

std::string name_in(const Json& workspace) {
  return text_at(workspace, {"metadata", "namespace"}) + "/" +
         text_at(workspace, {"metadata", "name"});
}

void work_stays(const Json& last, std::vector<std::string>& out) {
  const std::int64_t commits = number_at(last, {"status", "commits"});
  const std::string branch = text_at(last, {"status", "branch"});
  const std::string url = text_at(last, {"spec", "repository", "url"});
  if (commits > 0) {
    const std::string head = text_at(last, {"status", "head"}).substr(0, 12);
    out.push_back("Stays: branch " + branch + " of " + url + " with " +
                  counted(static_cast<std::size_t>(commits), "commit") +
                  (head.empty() ? "" : ", the last is " + head));
  } else {
    out.emplace_back("Nothing had been pushed.");
  }
  if (const std::string request = text_at(last, {"status", "mergeRequest", "url"});
      !request.empty())
    out.push_back("Stays: merge request " + request);
}

// The kind of credentials that mint tokens, or "".
std::string minter(const Json& workspace) {
  const Json& credentials = json_at(workspace, {"spec", "repository", "credentials"});
  for (const auto& [field, name] : {std::pair("githubApp", "the GitHub App"),
                                    std::pair("gitlab", "GitLab"), std::pair("gitea", "Gitea")}) {
    if (!json_at(credentials, {field}).is_null()) return name;
  }
  return {};
}

void tokens_end(const Json& last, const std::vector<std::string>& unrevoked, Stays& out) {
  const std::string secret =
      text_at(last, {"spec", "repository", "credentials", "secretRef", "name"});
  if (!secret.empty()) {
    out.lines.push_back("Removed: the session's copy of the token in Secret " + secret +
                        "; the token itself is yours and stays valid");
  }
  const std::string host = minter(last);
  if (host.empty()) return;
  for (const std::string& text : unrevoked) {
    out.lines.push_back("NOT REVOKED: " + printable(text));
    out.token_left = true;
  }
  if (unrevoked.empty())
    out.lines.push_back("Revoked: every token that was minted for it with " + host);
}

// The operator's warnings about tokens of this workspace; the error says why nobody knows.
std::expected<std::vector<std::string>, std::string> unrevoked_of(const Live& live,
                                                                  const Json& workspace) {
  kube::ListOptions options;
  options.ns = raw_text_at(workspace, {"metadata", "namespace"});
  options.field_selector = "reason=TokenNotRevoked";
  const auto events = live.client().list(kube::resources::kEvents, options);
  if (!events) {
    return std::unexpected(
        trouble("list", kube::resources::kEvents, options.ns, "", events.error()));
  }
  std::vector<std::string> out;
  for (const Json& event : events->items) {
    if (raw_text_at(event, {"regarding", "uid"}) == raw_text_at(workspace, {"metadata", "uid"}))
      out.push_back(raw_text_at(event, {"note"}));
  }
  return out;
}

}  // namespace

Stays after_deletion(const Json& last, const std::vector<std::string>& unrevoked) {
  Stays out;
  tokens_end(last, unrevoked, out);
  if (!json_at(last, {"spec", "storage"}).is_null()) {
    const std::string volume = text_at(last, {"metadata", "name"}) + "-workspace";
    const bool retained = raw_text_at(last, {"spec", "lifecycle", "retain"}) == "Retain";
    out.lines.push_back(retained ? "Stays: volume (PersistentVolumeClaim) " + volume
                                 : "Removed: volume (PersistentVolumeClaim) " + volume);
  }
  work_stays(last, out.lines);
  return out;
}

Stays after_suspension(const Json& last) {
  Stays out;
  if (!minter(last).empty()) {
    out.lines.emplace_back("Its tokens are being revoked; palisade status shows what could not be");
  } else if (!json_at(last, {"spec", "repository", "credentials"}).is_null()) {
    out.lines.emplace_back("Removed: the session's copy of its token");
  }
  if (!json_at(last, {"spec", "storage"}).is_null())
    out.lines.push_back("Stays: volume (PersistentVolumeClaim) " +
                        text_at(last, {"metadata", "name"}) + "-workspace");
  work_stays(last, out.lines);
  out.lines.push_back("palisade resume " + text_at(last, {"metadata", "name"}) + " -n " +
                      text_at(last, {"metadata", "namespace"}) +
                      " starts it anew from what was pushed");
  return out;
}

int delete_workspace(const Live& live, const Json& workspace, bool wait,
                     std::chrono::seconds timeout, const std::string& command,
                     const Streams& streams) {
  const std::string ns = raw_text_at(workspace, {"metadata", "namespace"});
  const std::string name = raw_text_at(workspace, {"metadata", "name"});
  const auto removed = live.client().remove(kinds::kAgentWorkspaces, ns, name,
                                            {.uid = raw_text_at(workspace, {"metadata", "uid"}),
                                             .resource_version = "",
                                             .propagation = "",
                                             .grace_period_seconds = std::nullopt});
  if (!removed) {
    streams.err << command << ": " << workspace_trouble("delete", ns, name, removed.error())
                << '\n';
    return kUnreadable;
  }
  if (!wait) {
    streams.out << "AgentWorkspace " << name_in(workspace) << " is being deleted\n";
    return kCompliant;
  }
  Json last = workspace;
  std::expected<Followed, std::string> followed = Followed::kLate;
  {
    StatusLine line(streams.err);
    followed = follow_workspace(live, workspace, std::chrono::steady_clock::now() + timeout,
                                [&](const Json& now) {
                                  last = now;
                                  line.show("ending the session of " + name_in(now) + " ...");
                                  return false;
                                });
  }
  if (!followed) {
    streams.err << command << ": " << name_in(workspace)
                << " is being deleted, but: " << followed.error() << '\n';
    return kFindings;
  }
  if (*followed != Followed::kGone) {
    streams.err << command << ": " << name_in(workspace) << " is not gone after " << timeout.count()
                << " s; palisade status " << printable(name) << " -n " << printable(ns)
                << " shows what is left, and the operator must run for it to go\n";
    return kFindings;
  }
  streams.out << "AgentWorkspace " << name_in(workspace) << " deleted: its pod, ServiceAccount, "
              << "NetworkPolicy and ConfigMap are gone\n";
  std::vector<std::string> unrevoked;
  bool unknown = false;
  if (!minter(last).empty()) {
    auto told = unrevoked_of(live, last);
    unknown = !told;
    if (told) unrevoked = std::move(*told);
    if (unknown)
      streams.err << command << ": whether its tokens were revoked is not known: " << told.error()
                  << '\n';
  }
  Stays stays = after_deletion(last, unrevoked);
  if (unknown)
    std::erase_if(stays.lines, [](const auto& one) { return one.starts_with("Revoked"); });
  for (const std::string& text : stays.lines)
    streams.out << text << '\n';
  return stays.token_left || unknown ? kFindings : kCompliant;
}

int suspend_workspace(const Live& live, const Json& workspace, bool wait,
                      std::chrono::seconds timeout, const std::string& command,
                      const Streams& streams) {
  const std::string ns = raw_text_at(workspace, {"metadata", "namespace"});
  const std::string name = raw_text_at(workspace, {"metadata", "name"});
  const auto changed =
      live.client().patch(kinds::kAgentWorkspaces, ns, name, kube::PatchType::kMerge,
                          {{"metadata", {{"uid", raw_text_at(workspace, {"metadata", "uid"})}}},
                           {"spec", {{"lifecycle", {{"suspend", true}}}}}});
  if (!changed) {
    streams.err << command << ": " << workspace_trouble("patch", ns, name, changed.error()) << '\n';
    return kUnreadable;
  }
  Json last = *changed;
  if (wait) {
    std::expected<Followed, std::string> followed = Followed::kLate;
    {
      StatusLine line(streams.err);
      followed = follow_workspace(
          live, *changed, std::chrono::steady_clock::now() + timeout, [&](const Json& now) {
            last = now;
            line.show("ending the session of " + name_in(now) + ", now " + standing(now) + " ...");
            return has_ended(now) ||
                   (raw_text_at(now, {"status", "phase"}) == "Suspended" && is_observed(now));
          });
    }
    if (!followed || *followed != Followed::kThere) {
      streams.err << command << ": " << name_in(workspace) << " is to be suspended, but "
                  << (!followed ? followed.error()
                      : *followed == Followed::kGone
                          ? std::string("was deleted meanwhile")
                          : "is " + standing(last) + " after " + std::to_string(timeout.count()) +
                                " s; is the operator running?")
                  << '\n';
      return kFindings;
    }
  }
  streams.out << "AgentWorkspace " << name_in(workspace)
              << (wait ? " suspended: its pod is gone\n" : " is being suspended\n");
  for (const std::string& text : after_suspension(last).lines)
    streams.out << text << '\n';
  return kCompliant;
}

}  // namespace palisade::cli
