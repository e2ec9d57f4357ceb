// One piece of work on a workspace's tokens: from its Secret and its git host to both again. Blocks
// on both; keeper.h has the threads.
//
// The order that loses no token: intent into the Secret, mint, token into the Secret (which takes
// the intent away). Whoever finds an intent that nobody is at work on looks for tokens of its name
// and takes them back first. Each write carries the resourceVersion that was read: of two at once
// the second writes nothing, and takes back what it minted.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include <kube/client.h>
#include <operator/tokens/life.h>
#include <operator/tokens/provider.h>

namespace palisade::op::tokens {

// spec.repository.credentials: who mints, and which Secrets of the workspace's namespace hold what
// that takes.
struct Source {
  HostKind kind = HostKind::kUnknown;
  bool mints = true;  // false: secretRef, of which tokens can only be asked
  std::string secret;
  std::string key;           // of the App's private key, the token or the password
  std::string username_key;  // Gitea
  std::string app_id;
  std::optional<std::int64_t> installation_id;
  std::string role;     // GitLab
  std::string api_url;  // "": the usual one
  bool operator==(const Source&) const = default;
};
// Tells tokens of one source from another's: Wanted::source. Nothing secret goes in.
[[nodiscard]] std::string source_hash(const Source& source, const Repository& repository);

struct Job {
  enum class Kind {
    kHold,          // mint, renew, revoke: whatever next_step() says
    kEnd,           // revoke everything
    kInspect,       // what the token of a secretRef may do
    kMergeRequest,  // open one
  };
  Kind kind = Kind::kHold;
  std::string ns;  // of the workspace
  std::string name;
  std::string uid;
  std::string url;  // spec.repository.url
  bool write = false;
  Source source;
  // Where the token goes: the object as it is made where there is none, without data.
  nlohmann::json secret;
  std::string token;      // kInspect
  MergeRequestWish wish;  // kMergeRequest

  [[nodiscard]] std::string workspace() const { return ns + "/" + name; }
  [[nodiscard]] Wanted wanted() const;
};

// A Secret that holds minted tokens says by what, for when its workspace is gone: an annotation,
// without anything secret. `kind` apart, the uid, names and Secret of the job are left empty;
// nullopt where it says nothing, or what is none.
inline constexpr const char* kSourceAnnotation = "palisade.dev/git-token-source";
[[nodiscard]] std::string source_text(const Job& job);
[[nodiscard]] std::optional<Job> minted_by(const nlohmann::json& secret);

// What was found out about the token of a secretRef.
struct Inspected {
  std::string token_hash;
  Inspection inspection;
  std::string problem;  // why the host could not be asked, or ""
  Time at;
};

// What is remembered of a workspace beside its Secret; lost in a restart without harm.
struct Memory {
  bool busy = false;               // a job waits or runs
  std::optional<Trouble> trouble;  // of the last kHold or kEnd, if it failed
  bool ending = false;             // that was a kEnd
  bool ended = false;              // and is done
  std::optional<Inspected> inspected;
  std::optional<MergeRequest> merge_request;
  std::optional<Trouble> merge_trouble;
  // Tokens that nobody can take back any more (the credentials are others now, or the host keeps
  // no list): a text for an event, told once.
  std::vector<std::string> lost;
  std::optional<Record> loose;  // minted, and not known to be written
};

// base_url to a transport; called per job. The default reaches any host, trusts the system's
// authorities and `git_ca`, and is bounded by kMaxAnswer.
using TransportFactory =
    std::function<std::shared_ptr<kube::Transport>(const std::string& base_url)>;
[[nodiscard]] TransportFactory usual_transports(const std::string& git_ca);

[[nodiscard]] std::string token_hash(const std::string& token);

// Thread-safe.
class Steward {
 public:
  // `process` tells this process from others: printable and unique.
  Steward(std::shared_ptr<const kube::Client> client, TransportFactory transports,
          std::string process, std::function<Time()> now);

  // Does the job, and returns what is to be remembered. `before` is what was.
  [[nodiscard]] Memory run(const Job& job, Memory before, std::stop_token stop) const;

  [[nodiscard]] const std::string& process() const { return process_; }

 private:
  struct Sitting;
  const std::shared_ptr<const kube::Client> client_;
  const TransportFactory transports_;
  const std::string process_;
  const std::function<Time()> now_;
};

}  // namespace palisade::op::tokens
