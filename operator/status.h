// Building the next status from the last one: conditions keep their transition time while their
// status stands, and each change is an event.
#pragma once

#include <operator/decide.h>

namespace palisade::op {

// status: the pod that the session was last seen in.
inline constexpr const char* kPodUid = "podUID";

class StatusBuilder {
 public:
  // `last` is the workspace's status as it was read.
  StatusBuilder(const Json& last, const Workspace& workspace,
                std::chrono::system_clock::time_point now);

  void phase(const std::string& phase);
  // status: "True", "False" or "Unknown". False ones make a Warning event unless `quiet`.
  void condition(const char* type, const char* status, const std::string& reason,
                 const std::string& message, bool quiet = false);
  void event(bool warning, const std::string& reason, const std::string& note);
  void set(const char* field, Json value);
  void drop(const char* field);
  // Keeps a field of the last status if it was there.
  void keep(const char* field);

  // Adds the kStatus action, and the events, if anything differs from the last status.
  void finish(Plan& plan) const;

 private:
  const Json last_;
  const std::string now_;
  const std::int64_t generation_;
  Json next_ = Json::object();
  std::vector<PlannedEvent> events_;
};

}  // namespace palisade::op
