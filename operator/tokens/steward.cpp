#include <algorithm>
#include <condition_variable>
#include <mutex>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <operator/tokens/steward.h>

#include "api.h"
#include "text.h"

namespace palisade::op::tokens {

namespace {

using kube::resources::kSecrets;
using std::chrono::milliseconds;

constexpr std::size_t kMaxCredential = 16 * 1024;
// Of the write that brings a token.
constexpr int kWriteAttempts = 5;
constexpr milliseconds kWritePause{400};

// False where it was stopped meanwhile.
bool pause(milliseconds length, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any ended;
  std::unique_lock lock(mutex);
  ended.wait_for(lock, stop, length, [] { return false; });
  return !stop.stop_requested();
}

Problem api_server(const kube::Error& error, const std::string& what) {
  return {"SecretNotWritten",
          fmt::format("{}: {}; it is tried again by itself", what, error.text()),
          error.retry_after};
}

std::string resource_version(const Json& object) {
  return text_of(member_of(object, "metadata"), "resourceVersion");
}

}  // namespace

// One job: what it has read and written so far.
struct Steward::Sitting {
  const Steward& steward;
  const Job& job;
  Memory memory;
  std::stop_token stop;

  std::unique_ptr<TokenProvider> provider{};
  std::string host{};
  Json secret{};  // null: there is none
  State state{};

  [[nodiscard]] Time now() const { return steward.now_(); }
  [[nodiscard]] std::string secret_name() const { return job.secret["metadata"]["name"]; }
  [[nodiscard]] std::string secret_ns() const { return job.secret["metadata"]["namespace"]; }

  // The value of a key of a Secret in the workspace's namespace.
  Outcome<std::string> credential(const std::string& key) const {
    auto found = steward.client_->get(kSecrets, job.ns, job.source.secret, stop);
    const std::string fix =
        fmt::format("put it there: kubectl create secret generic {} -n {} --from-file={}=FILE",
                    job.source.secret, job.ns, key);
    if (!found && found.error().is_not_found())
      return std::unexpected(
          Problem{"SecretNotFound",
                  fmt::format("Secret {} (key {}) is not there; {}", job.source.secret, key, fix),
                  {}});
    if (!found)
      return std::unexpected(
          api_server(found.error(), fmt::format("Secret {} cannot be read", job.source.secret)));
    auto value = decode_base64(text_of(member_of(*found, "data"), key.c_str()));
    if (!member_of(member_of(*found, "data"), key.c_str()).is_string())
      return std::unexpected(
          Problem{"KeyNotFound",
                  fmt::format("Secret {} has no key {}; {}", job.source.secret, key, fix),
                  {}});
    while (value && !value->empty() &&
           (value->back() == '\n' || value->back() == '\r' || value->back() == ' '))
      value->pop_back();
    if (!value || value->empty() || value->size() > kMaxCredential)
      return std::unexpected(Problem{
          "KeyNotFound",
          fmt::format("key {} of Secret {} is empty or too long; {}", key, job.source.secret, fix),
          {}});
    return *value;
  }

  // `bare`: only to revoke, for which a GitHub App needs no key.
  Outcome<void> make_provider(bool bare) {
    const auto repository = parse_repository(job.url);
    if (!repository)
      return std::unexpected(
          Problem{"RepositoryNotFound", "spec.repository.url " + repository.error(), {}});
    const auto api = api_url(job.source.kind, *repository, job.source.api_url);
    if (!api)
      return std::unexpected(
          Problem{"RequestRefused", "spec.repository.credentials: " + api.error(), {}});
    host = origin_of(*api).substr(8);
    const auto word = [&](const std::string& key) -> Outcome<std::string> {
      auto value = credential(key);
      if (value && !is_word(*value, kMaxCredential))
        return std::unexpected(
            Problem{"KeyNotFound",
                    fmt::format("key {} of Secret {} is not one line of printable characters", key,
                                job.source.secret),
                    {}});
      return value;
    };
    switch (job.source.kind) {
      case HostKind::kGithub: {
        GithubSettings settings;
        settings.app_id = job.source.app_id;
        settings.installation_id = job.source.installation_id;
        if (!bare) {
          auto key = job.source.mints ? credential(job.source.key) : word(job.source.key);
          if (!key) return std::unexpected(std::move(key.error()));
          (job.source.mints ? settings.private_key : settings.token) = std::move(*key);
        }
        provider = make_github(steward.transports_(origin_of(*api)), *api, *repository,
                               std::move(settings));
        return {};
      }
      case HostKind::kGitlab: {
        auto token = word(job.source.key);
        if (!token) return std::unexpected(std::move(token.error()));
        GitlabSettings settings{std::move(*token), job.source.role};
        provider = make_gitlab(steward.transports_(origin_of(*api)), *api, *repository,
                               std::move(settings));
        return {};
      }
      case HostKind::kGitea: {
        GiteaSettings settings;
        auto secret_value = word(job.source.key);
        if (!secret_value) return std::unexpected(std::move(secret_value.error()));
        if (job.source.mints) {
          auto username = word(job.source.username_key);
          if (!username) return std::unexpected(std::move(username.error()));
          settings.username = std::move(*username);
          settings.password = std::move(*secret_value);
        } else {
          settings.token = std::move(*secret_value);
        }
        provider = make_gitea(steward.transports_(origin_of(*api)), *api, *repository,
                              std::move(settings));
        return {};
      }
      case HostKind::kUnknown:
        break;
    }
    return std::unexpected(Problem{"RequestRefused", "the kind of git host is not known", {}});
  }

  // Whether the Secret that was found is the workspace's own: by owner in its namespace, by
  // annotation in the gateway's.
  [[nodiscard]] bool ours(const Json& found) const {
    const Json& metadata = member_of(found, "metadata");
    if (!member_of(metadata, "deletionTimestamp").is_null()) return false;
    const Json& owners = member_of(job.secret["metadata"], "ownerReferences");
    if (owners.is_array()) {
      const Json& held = member_of(metadata, "ownerReferences");
      return held.is_array() && std::ranges::any_of(held, [&](const Json& owner) {
               return text_of(owner, "uid") == job.uid;
             });
    }
    const Json& annotations = member_of(metadata, "annotations");
    for (const auto& [key, value] : member_of(job.secret["metadata"], "annotations").items()) {
      if (member_of(annotations, key.c_str()) != value) return false;
    }
    return true;
  }

  Outcome<void> read_secret() {
    auto found = steward.client_->get(kSecrets, secret_ns(), secret_name(), stop);
    if (!found && !found.error().is_not_found())
      return std::unexpected(
          api_server(found.error(), fmt::format("Secret {} cannot be read", secret_name())));
    secret = found ? std::move(*found) : Json();
    if (!secret.is_null() && !ours(secret))
      return std::unexpected(Problem{
          "NameConflict",
          fmt::format("Secret {} in namespace {} is there already and belongs to someone else, or "
                      "is just being deleted",
                      secret_name(), secret_ns()),
          {}});
    state = read_state(secret);
    return {};
  }

  // Makes the Secret say `after`, if nobody has changed it since it was read.
  kube::Result<void> write(const State& after, const std::string& username) {
    Json patch = state_patch(state, after, username);
    patch["metadata"]["annotations"][kSourceAnnotation] = source_text(job);
    kube::Result<Json> written;
    if (secret.is_null()) {
      Json object = job.secret;
      for (const auto& [key, value] : patch["metadata"]["annotations"].items()) {
        if (!value.is_null()) object["metadata"]["annotations"][key] = value;
      }
      for (const auto& [key, value] : patch["data"].items()) {
        if (!value.is_null()) object["data"][key] = value;
      }
      written = steward.client_->create(kSecrets, secret_ns(), object, stop);
    } else {
      patch["metadata"]["resourceVersion"] = resource_version(secret);
      patch["metadata"]["uid"] = member_of(secret["metadata"], "uid");
      written = steward.client_->patch(kSecrets, secret_ns(), secret_name(),
                                       kube::PatchType::kMerge, patch, "", stop);
    }
    if (!written) return std::unexpected(std::move(written.error()));
    secret = std::move(*written);
    state = after;
    return {};
  }

  // Tokens of an intent's name: minted by a process that died before it could write them.
  Outcome<void> clear_intent(State& after) {
    if (!after.intent) return {};
    const std::string name = after.intent->name;
    auto found = provider->find(name, now(), stop);
    if (!found) return std::unexpected(std::move(found.error()));
    if (*found) {
      for (const Record& record : **found) {
        if (record.name != name) continue;
        if (auto gone = provider->revoke(record, now(), stop); !gone) return gone;
      }
    } else if (after.intent->by != steward.process_) {
      memory.lost.push_back(fmt::format(
          "a token ({}) may have been minted by {} and lost when an operator ended; it cannot be "
          "listed, and ends by itself within the hour",
          name, host));
    }
    after.intent.reset();
    return {};
  }

  // What this process minted and could not write. The Secret was read since: it is not there.
  Outcome<void> clear_loose() {
    if (!memory.loose) return {};
    if (state.current && state.current->record.name == memory.loose->name) {
      memory.loose.reset();
      return {};
    }
    if (auto gone = provider->revoke(*memory.loose, now(), stop); !gone) return gone;
    memory.loose.reset();
    return {};
  }

  // Takes back what is retired and due; what the host refuses to take stays, and is told.
  Outcome<void> clear_retired(State& after, const Wanted& wanted, bool all) {
    Outcome<void> outcome;
    std::vector<Kept> left;
    for (Kept& kept : after.retired) {
      const bool over = kept.record.id.empty() && kept.expires <= now();
      if (over) continue;
      if (!all && !due(kept, wanted, now())) {
        left.push_back(std::move(kept));
        continue;
      }
      if (kept.source != wanted.source) {
        memory.lost.push_back(fmt::format(
            "token {} ({}) was minted with credentials that spec.repository.credentials does not "
            "name any more; revoke it by hand, if its host does not end it at {}",
            kept.record.id.empty() ? "without id" : kept.record.id, kept.record.name,
            format_time(kept.expires)));
        continue;
      }
      auto gone = provider->revoke(kept.record, now(), stop);
      if (gone) continue;
      left.push_back(std::move(kept));
      outcome = std::unexpected(std::move(gone.error()));
    }
    after.retired = std::move(left);
    return outcome;
  }

  Outcome<void> hold() {
    if (auto read = read_secret(); !read) return read;
    const Wanted wanted = job.wanted();
    const Step step = next_step(state, wanted, std::nullopt, steward.process_, now());
    if (step.need == Need::kNothing && !memory.loose) return {};
    if (auto made = make_provider(false); !made) return made;
    if (auto cleared = clear_loose(); !cleared) return cleared;
    State after = state;
    if (auto cleared = clear_intent(after); !cleared) return cleared;
    auto tidied = clear_retired(after, wanted, false);
    if (step.need == Need::kRevoke || step.need == Need::kNothing) {
      if (auto written = write(after, username()); !written)
        return std::unexpected(api_server(written.error(), "the Secret cannot be written"));
      return tidied;
    }
    after.intent = Intent{next_name(wanted, now(), steward.process_), now(), steward.process_};
    if (auto written = write(after, username()); !written)
      return std::unexpected(api_server(written.error(), "the Secret cannot be written"));
    const MintRequest request{after.intent->name, job.write, false};
    auto minted = provider->mint(request, now(), stop);
    if (!minted) {
      // Nothing to look for later, nor to wait for at the end. Where this cannot be written the
      // intent stays, which is no more than that.
      if (surely_not_minted(minted.error())) {
        after.intent.reset();
        if (auto written = write(after, username()); !written)
          spdlog::warn("workspace {}: its Secret keeps an intent that came to nothing: {}",
                       job.workspace(), written.error().text());
      }
      return std::unexpected(std::move(minted.error()));
    }
    if (auto kept = keep(*minted, wanted); !kept) return kept;
    return tidied;
  }

  [[nodiscard]] std::string username() const {
    return decode_base64(text_of(member_of(secret, "data"), "username")).value_or("");
  }

  // Writes the token, however often it takes: until then nobody but this process knows it.
  Outcome<void> keep(const MintedToken& minted, const Wanted& wanted) {
    memory.loose = minted.record;
    kube::Error last;
    for (int attempt = 1; attempt <= kWriteAttempts; ++attempt) {
      State after = state;
      after.intent.reset();
      if (after.current) {
        after.current->since = now();
        after.retired.push_back(std::move(*after.current));
      }
      Kept kept;
      kept.record = minted.record;
      kept.minted = minted.minted;
      kept.expires = minted.expires;
      kept.source = wanted.source;
      kept.write = wanted.write;
      kept.broad = minted.broad;
      after.current = std::move(kept);
      auto written = write(after, minted.username);
      if (written) {
        memory.loose.reset();
        return {};
      }
      last = std::move(written.error());
      if (!pause(kWritePause * attempt, stop)) break;
      // It may have been written all the same, or somebody else has written.
      auto read = read_secret();
      const bool landed = read && state.current && state.current->record.name == minted.record.name;
      if (landed) {
        memory.loose.reset();
        return {};
      }
      if (read || read.error().reason == "NameConflict") {
        if (read && state.intent && state.intent->name == minted.record.name) continue;
        // Another process is at work, or the session has ended: this token is nobody's.
        auto gone = provider->revoke(minted.record, now(), stop);
        if (gone) memory.loose.reset();
        return std::unexpected(
            Problem{"SecretNotWritten",
                    fmt::format("Secret {} was changed by someone else while a token was minted; "
                                "it was taken back",
                                secret_name()),
                    {}});
      }
    }
    return std::unexpected(api_server(last, "a minted token cannot be written"));
  }

  Outcome<void> end() {
    if (auto read = read_secret(); !read) {
      if (read.error().reason != "NameConflict") return read;
      // Not ours: what the host lists is taken back all the same.
      secret = nullptr;
      state = {};
    }
    const Wanted wanted = job.wanted();
    State after = state;
    if (after.current) {
      after.current->since = now();
      after.retired.push_back(std::move(*after.current));
      after.current.reset();
    }
    const bool bare = job.source.kind == HostKind::kGithub && job.source.mints;
    if (auto made = make_provider(bare); !made) return made;
    if (auto cleared = clear_loose(); !cleared) return cleared;
    // Where the host keeps a list, it is what counts: the Secret may have been tampered with.
    auto found = provider->find(name_prefix(job.uid), now(), stop);
    if (!found) return std::unexpected(std::move(found.error()));
    if (*found) {
      for (const Record& record : **found) {
        if (auto gone = provider->revoke(record, now(), stop); !gone) return gone;
      }
    }
    if (auto cleared = clear_intent(after); !cleared) return cleared;
    auto tidied = clear_retired(after, wanted, true);
    if (!secret.is_null()) {
      if (auto written = write(after, ""); !written)
        return std::unexpected(api_server(written.error(), "the Secret cannot be written"));
    }
    memory.ended = tidied.has_value();
    return tidied;
  }

  void inspect() {
    Inspected out;
    out.token_hash = token_hash(job.token);
    out.at = now();
    auto made = make_provider(false);
    if (made) {
      auto told = provider->inspect(job.token, now(), stop);
      if (told) {
        out.inspection = std::move(*told);
      } else {
        out.problem = std::move(told.error().message);
      }
    } else {
      out.problem = std::move(made.error().message);
    }
    memory.inspected = std::move(out);
  }

  void open_merge_request() {
    auto made = make_provider(false);
    auto opened = made ? provider->open_merge_request(job.wish, now(), stop)
                       : Outcome<MergeRequest>(std::unexpected(std::move(made.error())));
    if (opened) {
      memory.merge_request = std::move(*opened);
      memory.merge_trouble.reset();
    } else {
      memory.merge_trouble = after_failure(memory.merge_trouble, std::move(opened.error()), now());
    }
  }
};

Steward::Steward(std::shared_ptr<const kube::Client> client, TransportFactory transports,
                 std::string process, std::function<Time()> now)
    : client_(std::move(client)),
      transports_(std::move(transports)),
      process_(std::move(process)),
      now_(std::move(now)) {}

Memory Steward::run(const Job& job, Memory before, std::stop_token stop) const {
  Sitting sitting{*this, job, std::move(before), std::move(stop)};
  switch (job.kind) {
    case Job::Kind::kInspect:
      sitting.inspect();
      break;
    case Job::Kind::kMergeRequest:
      sitting.open_merge_request();
      break;
    case Job::Kind::kHold:
    case Job::Kind::kEnd: {
      const bool ending = job.kind == Job::Kind::kEnd;
      // A host that did not mint may revoke.
      if (sitting.memory.ending != ending) sitting.memory.trouble.reset();
      sitting.memory.ending = ending;
      sitting.memory.ended = false;
      auto done = ending ? sitting.end() : sitting.hold();
      if (done) {
        sitting.memory.trouble.reset();
      } else {
        sitting.memory.trouble =
            after_failure(sitting.memory.trouble, std::move(done.error()), now_());
      }
      break;
    }
  }
  return std::move(sitting.memory);
}

}  // namespace palisade::op::tokens
