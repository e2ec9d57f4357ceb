#include "line.h"

namespace palisade::gateway::git {

Line::Line(std::shared_ptr<Record> record, const Caller& caller)
    : record_(std::move(record)), json_{{"kind", "git"},
                                        {"namespace", caller.ns},
                                        {"workspace", caller.workspace},
                                        {"pod", caller.pod},
                                        {"verdict", "failed"},
                                        {"code", "ended"},
                                        {"status", 0}} {}

Line::~Line() {
  try {
    json_["durationMs"] = std::chrono::duration_cast<std::chrono::milliseconds>(
                              std::chrono::steady_clock::now() - begun_)
                              .count();
    record_->write(std::move(json_));
  } catch (...) {  // NOLINT(bugprone-empty-catch): out of memory; the record counts what it lost
  }
}

void Line::allowed(int status) {
  json_["verdict"] = "allowed";
  json_["code"] = "ok";
  json_["status"] = status;
}

void Line::verdict(const char* verdict, const Refusal& refusal) {
  json_["verdict"] = verdict;
  json_["code"] = refusal.code;
  json_["status"] = refusal.status;
  json_["reason"] = refusal.message;
}

}  // namespace palisade::gateway::git
