// Logs as JSON lines on standard error, one object a line, whatever a message contains.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace kube {

// Sets spdlog's default logger. `level`: debug, info, warn or error. Call once, before threads
// start.
void init_json_logs(const std::string& level);

// What the lines of this thread are about as long as this lives: a field of each line, beside time,
// level and message. Nested ones add up; their names differ, and are the program's own words.
class LogFields {
 public:
  LogFields(std::initializer_list<std::pair<std::string_view, std::string_view>> fields);
  ~LogFields();
  LogFields(const LogFields&) = delete;
  LogFields& operator=(const LogFields&) = delete;

 private:
  std::size_t before_;
};

}  // namespace kube
