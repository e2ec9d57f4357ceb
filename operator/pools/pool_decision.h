// One decision about one pool. pool.h has the function that everybody else calls.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <operator/pool.h>

#include "session.h"
#include "status.h"

namespace palisade::op {

using Clock = std::chrono::system_clock;

// Made for one call of make(). `observed` and `config` outlive it.
class PoolDecision {
 public:
  PoolDecision(const PoolObserved& observed, const Config& config, Clock::time_point now,
               Pool pool);

  Plan make();

 private:
  [[nodiscard]] static Workspace generation_of(const Pool& pool);
  // What its pods are made from, and by which bounds; why there can be none.
  [[nodiscard]] std::expected<Workspace, Problem> wanted();
  [[nodiscard]] PoolPlace place(const std::string& name) const;
  [[nodiscard]] bool of_pool(const Json& object) const;
  void remove(const kube::Resource& resource, const kube::ObjectPtr& object);
  [[nodiscard]] bool outdated(const Json& pod) const;
  // Whether somebody has had a hand in it, or in what goes with it.
  [[nodiscard]] bool touched(const WarmPlace& one) const;
  void count_failure(const Json& pod);
  // What is there into current_ and outdated_; what must not stay ends.
  void sort();
  void keep(const Workspace& workspace);
  kube::ObjectPtr start(const Workspace& workspace, int number);
  // After pods that ended by themselves the next one waits, longer each time.
  [[nodiscard]] std::optional<Clock::time_point> pause_until() const;
  void tell(std::size_t want);
  void tell_ready(const std::string& reason, const std::string& message);
  void refuse(const Problem& problem);
  void sweep();
  void tear_down();
  void finish();

  const PoolObserved& seen_;
  const Config& config_;
  const Clock::time_point now_;
  const Pool pool_;
  const Json last_;
  StatusBuilder status_;
  Plan plan_;
  PoolPlace place_;
  std::chrono::seconds reserve_{};  // of a pod's lifetime, for the session
  std::string shape_;
  Json model_;  // a pod as it is made now
  std::vector<kube::ObjectPtr> current_, outdated_;
  std::size_t warm_ = 0;  // of current_
  int failures_ = 0;
  Json last_failure_;
};

}  // namespace palisade::op
