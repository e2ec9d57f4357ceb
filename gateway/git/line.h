// One request's line in the record.
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include <gateway/core/caller.h>
#include <gateway/core/services.h>

namespace palisade::gateway::git {

// Written when it goes, whatever ended the request. Until something else is said, it failed.
class Line {
 public:
  Line(std::shared_ptr<Record> record, const Caller& caller);
  ~Line();
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  void set(const char* name, nlohmann::json value) { json_[name] = std::move(value); }
  void allowed(int status);
  void refused(const Refusal& refusal) { verdict("refused", refusal); }
  void failed(const Refusal& refusal) { verdict("failed", refusal); }

 private:
  void verdict(const char* verdict, const Refusal& refusal);

  std::shared_ptr<Record> record_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  nlohmann::json json_;
};

}  // namespace palisade::gateway::git
