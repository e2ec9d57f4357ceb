// One decision about one workspace. Its methods lie in several files of this folder by what they
// are about; decide.h has the function that everybody else calls.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <operator/decide.h>

#include "json_access.h"
#include "session.h"
#include "status.h"

namespace palisade::op {

using Clock = std::chrono::system_clock;

// For what nothing tells us of (a Secret, a name that does not resolve).
inline constexpr std::chrono::seconds kLookAgain{10};
inline constexpr std::chrono::seconds kRefresh{60};       // a rotated token is copied within this
inline constexpr std::chrono::seconds kRefusedAgain{60};  // for what only an administrator changes

// status.madeWith
inline constexpr const char* kMadeWith = "madeWith";
inline constexpr const char* kAgentImage = "agentImage";
inline constexpr const char* kCourierImage = "courierImage";
inline constexpr const char* kDeadlineSeconds = "deadlineSeconds";

// status
inline constexpr const char* kStartedAt = "startedAt";
inline constexpr const char* kWarmPod = "warmPod";
inline constexpr const char* kSetup = "setup";

// status
inline constexpr const char* kArchive = "archive";

// status: the pod that the session lost last.
inline constexpr const char* kLastLoss = "lastLoss";
inline constexpr const char* kRestarts = "restarts";

// An object of the session.
struct Child {
  const kube::Resource* resource;
  std::string name;
  const kube::ObjectPtr* object;
  std::string ns{};  // empty: the workspace's
};

// Made for one call of make(). `observed` and `config` outlive it.
class Decision {
 public:
  Decision(const Observed& observed, const Config& config, Clock::time_point now,
           Workspace workspace)
      : seen_(observed),
        config_(config),
        now_(now),
        w_(completed(std::move(workspace), observed, now)),
        last_(child(observed.workspace, "status")),
        status_(last_, w_, now) {}

  Plan make();

 private:
  // decide.cpp
  [[nodiscard]] std::vector<Child> children() const;
  [[nodiscard]] std::string name_conflict() const;
  [[nodiscard]] bool owns(const kube::Resource& resource, const Json& object) const;
  void remove(const kube::Resource& resource, const std::string& name,
              const kube::ObjectPtr& object, const std::string& ns = {});
  void end_strays();
  // Tokens and keys, wherever they are kept.
  void remove_secrets();
  [[nodiscard]] std::string gateway_ns() const;
  // With the user name that a minted token goes with, and what is left of its deadline.
  [[nodiscard]] static Workspace completed(Workspace workspace, const Observed& observed,
                                           Clock::time_point now);
  void refuse(const std::string& reason, const std::string& message, std::chrono::seconds again);
  void waiting(const std::string& reason, const std::string& message, bool quiet);
  // The session ends while no pod of it runs.
  void end_without_pod(const char* phase, const char* reason, const std::string& message);

  // start.cpp
  void run();
  // The default images that a pod was made with are kept for its life: an operator that is upgraded
  // ends no session. A new pod gets the new ones, whatever the status says.
  [[nodiscard]] Defaults defaults() const;
  // seen_.draft, where it is of the same.
  [[nodiscard]] std::shared_ptr<const Draft> drawn(const Defaults& set, const Access& access,
                                                   const std::string& token,
                                                   const policy::Settings& bounds) const;
  // The gateway has no alias in the pod: it is known by its URL.
  [[nodiscard]] bool made_for_pod(const Access& access) const;
  // By which the relay judges the gateway's certificate: the newest. A live session keeps its own
  // while they cannot be told. False: there are none.
  [[nodiscard]] bool authorities(Gateway& gateway, bool live) const;
  void start(const Json& pod);
  // The deadline is over before another pod could be made.
  void expire();
  // A change that loosens waits until the pod is gone; anything else, and any drift, is put right
  // at once.
  void keep_network(const Json& network);

  // bounds.cpp
  // What the agent could do, by what is about to be written, beyond what AgentPolicies allow it.
  [[nodiscard]] std::string excess_of(const Json& pod, const Json& network, const Json& config_map,
                                      const policy::Settings& bounds) const;

  // credentials.cpp
  // nullptr where all that the spec names is there.
  [[nodiscard]] const Problem* missing_credential() const;
  void without_credentials(const Problem& missing);
  void tell_credentials(bool through_gateway);
  // Tokens and keys where they are used. What a pod mounts is taken away once no pod is there.
  void keep_secrets(const Access& access, const std::string& token);
  [[nodiscard]] bool holds_tokens(const kube::ObjectPtr& secret) const;

  // lost.cpp
  [[nodiscard]] std::string pod_uid() const;  // of the pod that the session was last seen in
  // Puts a lost pod on record, once; true where spec.lifecycle.maxRestarts allows another.
  [[nodiscard]] bool grant(const std::string& uid, const Loss& loss);
  // The session had a pod and it is gone. True: the next may be made now.
  [[nodiscard]] bool may_recreate();
  // A pod that is ending before its agent has ended.
  void ending(const Json& wanted, const Session& session);
  void lose();  // a pod that was ended by its surroundings
  void give_up(const Loss& loss);
  [[nodiscard]] int restarts() const;

  // queue.cpp
  // Whether AgentPolicies let it run now; else it waits.
  [[nodiscard]] bool may_run();

  // warm.cpp
  // Whether there is a pod in a pool that will do, now.
  [[nodiscard]] bool fits() const;
  // The pod's activeDeadlineSeconds with the whole session in it; nullopt: it has not begun.
  [[nodiscard]] std::optional<std::chrono::seconds> lifetime_in(const Json& pod) const;
  // It is put down as the one to take.
  void choose();
  // Makes the pod that was chosen the workspace's own, or gives it up.
  void take(const Json& pod, const Json& network);
  // What goes with the pod once that is taken: its ServiceAccount, and its ConfigMap with all that
  // the session is.
  void take_rest(const Json& config_map);
  // ServiceAccount and ConfigMap of the name that goes with its pod; else they are on their way
  // out.
  [[nodiscard]] bool own_objects_gone();
  // Whatever became of it, this workspace has it no longer.
  void give_up_warm(const std::string& why);
  // The kubelet is told to look at the ConfigMap at once, and again where it did not.
  void deliver(const Json& pod, const Session& session);

  // setup.cpp
  // Whether AgentPolicies allow it, with the mirrors that it is to reach; else it is refused.
  [[nodiscard]] bool may_set_up(const Access& access, const policy::Settings& bounds,
                                const Defaults& set);
  // Whether the agent's pod may be made: there is no setup, or its result stands and its pod has
  // gone. Else it goes on with it, and waits.
  [[nodiscard]] bool set_up(const Access& access, const Defaults& set);
  // The result of the key, from whoever makes it.
  void make_setup(const std::string& key, const Json& pod, const Json& network);
  // Sees to the pod as wanted, step by step. True: it has ended as it should.
  [[nodiscard]] bool setup_ran(const Json& wanted, const Json& network);
  // The claim that is complete becomes what the agent's pod mounts.
  void adopt_setup(bool cached);
  void setup_failed(const std::string& why);
  void setup_waiting(const char* reason, const std::string& message);
  void tell_setup_waits();
  [[nodiscard]] bool writes_setup_claim() const;
  [[nodiscard]] bool has_half_a_setup_claim() const;  // it has written to it, and not all
  [[nodiscard]] Json setup_record() const { return child(last_, kSetup); }
  // Its pod goes, and then its network; true where the pod has gone.
  [[nodiscard]] bool setup_gone();
  // The same where the session ends, with what it has not completed.
  [[nodiscard]] bool end_setup();
  // What was begun is begun anew.
  void suspend_setup();
  // An agent's pod is made, or there, that mounts the result.
  void use_setup();

  // volume.cpp
  // spec.storage: the claim as it should be. False: no pod can be made with it now.
  [[nodiscard]] bool keep_volume();
  // Why a pod does not start that waits for its volume; nullopt where it does not.
  [[nodiscard]] std::optional<Problem> volume_problem() const;
  // The workspace goes: by spec.lifecycle.retain its volume goes too, or loses its owner.
  void release_volume();
  // Of a volume that is to outlive the workspace.
  void strip_owner(const Json& claim);

  // follow.cpp
  void follow(const Json& wanted, const Json& network, const Session& session);
  // Whether what was sent earlier can no longer change what the pod will start with; else the plan
  // sees to it. A process that led before may have sent a wider network while there was no pod.
  [[nodiscard]] bool fenced();
  // Why the pod has to make way for another; null where it may stay.
  [[nodiscard]] const char* outdated(const Json& wanted, const Session& session) const;
  void end(const Session& session);
  // Where a pod's record goes that is sent to an archive, and what of it is there; `relayed`: the
  // relay's last word. Nothing where it is sent to none.
  void tell_archive(bool ended, const std::optional<Relayed>& relayed);
  // What guard counted, and an event where it refused something.
  void account(const Guarded& guarded);
  [[nodiscard]] std::string isolated_message() const;

  // end.cpp
  // The pod's end comes before its policy's and its token's. What is not ours is left alone.
  void tear_down();
  [[nodiscard]] bool finished() const;
  // A finished session: its tokens and keys go at once, itself and its pod after a while.
  void rest();
  void suspend();

  const Observed& seen_;
  const Config& config_;
  const Clock::time_point now_;
  const Workspace w_;
  const Json last_;
  StatusBuilder status_;
  Plan plan_;
  bool loosening_ = false;
  std::vector<policy::SetupMirror> mirrors_;  // that the setup is to reach
  std::optional<Problem> setup_waits_;
};

}  // namespace palisade::op
