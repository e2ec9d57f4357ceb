// `palisade-guard rounds`: the agent's task, then the checks of its work, then the task of putting
// right what they say, until they pass. It runs inside the sandbox, as the agent does, and holds no
// right that the agent lacks; but nothing in there can write its memory, so what it says at its end
// is no word of the agent's.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::guard {

struct RoundsOptions {
  int rounds = 3;                    // how often the checks' output goes back to the agent
  std::string lint;                  // a JSON list of words; "": there is none
  std::string test;                  // the same
  std::string message;               // the task
  int relay_port = 0;                // of the relay's LLM route on loopback; 0: not asked
  std::vector<std::string> command;  // the agent, which is given `--message=TEXT` besides
};

// Exit code: the agent's own where it failed, else 0, whatever the checks said. By then the process
// has told guard how it went: it executes `palisade-guard feedback ...`, which guard sees.
[[nodiscard]] int rounds(const RoundsOptions& options);

// How the rounds went.
struct Feedback {
  std::int64_t rounds = 0;   // how often output went back to the agent
  std::string stopped;       // one of kStopWords
  std::string last_failure;  // what the last check that failed said; "": none failed
  bool operator==(const Feedback&) const = default;
};
inline constexpr std::string_view kStopWords[] = {"Passed",   "RoundsSpent",     "BudgetSpent",
                                                  "TimedOut", "CommandUnusable", "AgentFailed"};

// The words behind `palisade-guard`, and back; nullopt for anything else.
[[nodiscard]] std::vector<std::string> feedback_arguments(const Feedback& feedback, int code);
[[nodiscard]] std::optional<Feedback> read_feedback(const std::vector<std::string>& argv);
// The exit code in them.
[[nodiscard]] int feedback_code(const std::vector<std::string>& argv);

// What was printed, without control characters (but newlines and tabs) and escape sequences.
[[nodiscard]] std::string plain_text(std::string_view text);

// What a check printed, fit for the agent's next task: UTF-8 without control characters and
// escape sequences, at most some 16 KiB, of which the middle is left out.
class Output {
 public:
  void add(std::string_view bytes);
  [[nodiscard]] std::string text() const;

 private:
  std::string head_;
  std::string tail_;
  std::uint64_t left_out_ = 0;
};

// A JSON list of 1 to 64 words without NUL; the error says what is wrong.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> read_words(
    const std::string& json);

}  // namespace palisade::guard
