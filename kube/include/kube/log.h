// Logs as JSON lines on standard error, one object a line, whatever a message contains.
#pragma once

#include <string>

namespace kube {

// Sets spdlog's default logger. `level`: debug, info, warn or error. Call once, before threads
// start.
void init_json_logs(const std::string& level);

}  // namespace kube
