// The record of a session as `palisade audit` reads it. It is written by guard, but what it tells
// was said by an untrusted program: each line is read strictly, and every text is made fit to show.
#pragma once

#include <cstdint>
#include <deque>
#include <expected>
#include <iosfwd>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::cli {

enum class AuditKind {
  exec_started,
  exec_ended,
  refused,
  connected,
  script_run,
  finding,
  session_started,
  session_ended,
};

// One line. Texts are as recorded; fields that an event does not have are empty.
struct AuditEvent {
  AuditKind kind = AuditKind::exec_started;
  std::uint64_t sequence = 0;
  std::int64_t time = 0;      // ms since 1970
  std::uint64_t dropped = 0;  // events left out since the line before
  std::string workspace;
  std::int64_t pid = 0;
  std::int64_t parent = 0;
  std::string program;  // the file that runs, or that was to be run
  std::string command;  // its arguments
  std::string sha256;
  std::string rule;    // of a refusal; a finding's id
  std::string call;    // the system call that was refused
  std::string target;  // a path or an address
  std::string error;   // "EACCES"
  bool enforced = true;
  std::uint64_t count = 1;  // refusals that it stands for
  std::optional<std::int64_t> exit_code;
  std::optional<std::int64_t> duration_us;
  std::string message;       // a finding's; why a session ended
  std::string written_by;    // a script's
  std::int64_t changed = 0;  // when it was written last, as the kernel has it; 0: not known
  std::int64_t killed = 0;
  std::vector<std::string> degraded;
};

// "ExecStarted"
[[nodiscard]] std::string_view audit_kind_name(AuditKind kind);

inline constexpr std::size_t kLongestAuditLine = 64 * 1024;

// A line without its newline. The error says what is wrong with it, without repeating it.
[[nodiscard]] std::expected<AuditEvent, std::string> read_audit_line(std::string_view line);

// "2026-11-21T15:00:01.123Z"; "1h2m", "3.2s", "14ms".
[[nodiscard]] std::string audit_time(std::int64_t milliseconds);
[[nodiscard]] std::string audit_duration(std::int64_t microseconds);

// What an event is, in one line that is safe for a terminal, without time and place.
[[nodiscard]] std::string audit_text(const AuditEvent& event);
// One line of CSV, safe for a terminal and for spreadsheets, and the line of names above them.
[[nodiscard]] std::string audit_csv(const AuditEvent& event);
[[nodiscard]] std::string audit_csv_header();

struct AuditTotals {
  std::uint64_t execs = 0, refusals = 0, would_refuse = 0, connections = 0, findings = 0,
                scripts = 0, dropped = 0;
};

// Events by the process that they belong to.
class AuditTree {
 public:
  // Its depth: 0 for what belongs to the session itself.
  std::size_t add(AuditEvent event);
  [[nodiscard]] const AuditTotals& totals() const { return totals_; }
  void print(std::ostream& out) const;
  // "12 programs, 1 refusal, ...", and how the session ended.
  void print_totals(std::ostream& out) const;

 private:
  struct Node {
    AuditEvent event;
    std::optional<AuditEvent> end;
    std::size_t depth = 0;
    std::vector<std::size_t> children;
  };
  [[nodiscard]] std::optional<std::size_t> owner(const AuditEvent& event) const;
  std::size_t attach(AuditEvent event, std::optional<std::size_t> under);

  std::deque<Node> nodes_;
  std::vector<std::size_t> roots_;
  std::map<std::int64_t, std::size_t> running_;  // a process's latest exec
  AuditTotals totals_;
  std::optional<AuditEvent> began_;
  std::optional<AuditEvent> ended_;
  std::int64_t last_time_ = 0;
};

// Takes the record in pieces; gives whole lines that were not seen before.
class AuditReader {
 public:
  struct Line {
    std::string raw;
    AuditEvent event;
  };
  [[nodiscard]] std::vector<Line> feed(std::string_view bytes);
  // The end: a last line without its newline is read too.
  [[nodiscard]] std::vector<Line> finish();
  // A connection that was lost begins the record again: what was read is passed over, and half a
  // line is forgotten.
  void again();

  // Lines that could not be read, or are missing: the first of them, then their number.
  [[nodiscard]] std::vector<std::string> problems() const;
  // How many lines are missing before the first.
  [[nodiscard]] std::uint64_t missing_at_beginning() const { return missing_; }
  [[nodiscard]] std::uint64_t lines() const { return read_; }

 private:
  void take(std::string_view line, std::vector<Line>& out);
  void problem(const std::string& text);

  std::string pending_;
  bool too_long_ = false;
  std::uint64_t number_ = 0;  // of the line in the text
  std::uint64_t last_ = 0;    // sequence
  std::uint64_t missing_ = 0;
  std::uint64_t read_ = 0;
  std::uint64_t passed_over_ = 0;
  std::vector<std::string> problems_;
  std::uint64_t more_problems_ = 0;
  bool repeating_ = false;
};

}  // namespace palisade::cli
