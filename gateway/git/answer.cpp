#include "answer.h"

#include "report.h"

namespace palisade::gateway::git {

Fields git_fields(std::string type) {
  Fields out;
  out.add("Content-Type", std::move(type));
  out.add("Cache-Control", "no-cache, no-store");
  return out;
}

Task<void> answer_text(Exchange& exchange, Refusal refusal) {
  Fields fields = git_fields("text/plain; charset=utf-8");
  const std::string text = shown_reason(refusal.message) + '\n';
  // 499 is the record's word: nobody is there to read it.
  const int status = refusal.status == 499 ? 400 : refusal.status;
  // A client that has gone is not told: the record is.
  (void)co_await exchange.reply(status, std::move(fields), text);
}

Task<void> answer_git(Exchange& exchange, std::string type, std::string body) {
  Fields fields = git_fields(std::move(type));
  (void)co_await exchange.reply(200, std::move(fields), body);
}

void note(Line& line, const Refusal& refusal) {
  if (refusal.status == 499 || refusal.status == 408 || refusal.status >= 500)
    line.failed(refusal);
  else
    line.refused(refusal);
}

}  // namespace palisade::gateway::git
