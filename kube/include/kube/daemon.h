// What every program that runs until it is told to end has in common: its end, and its status
// pages.
#pragma once

#include <functional>
#include <string>

#include <kube/http_server.h>

namespace kube {

// Blocks SIGTERM and SIGINT for this thread and all that it starts from now on, so that only
// wait_for_end_signal() sees them, and ignores SIGPIPE. Call it before any thread is made.
void block_end_signals();
// Waits for SIGTERM or SIGINT and returns its number.
[[nodiscard]] int wait_for_end_signal();

// The machine's name: the pod's, in a pod. "unknown" where there is none.
[[nodiscard]] std::string host_name();

struct StatusPages {
  // Why the program is not ready, or "" where it is. Called by server threads.
  std::function<std::string()> not_ready;
  // The metrics in Prometheus' text format, version 0.0.4. Called by server threads.
  std::function<std::string()> metrics;
  // What is stuck and only a restart would free, or "". Called by server threads. May be empty.
  std::function<std::string()> stuck = nullptr;
  // What waits, runs and is delayed, as JSON. Called by server threads. May be empty.
  std::function<std::string()> queue = nullptr;
};

// Answers /healthz (503 with what is stuck), /readyz (503 with the reason), /metrics and, where
// there is one, /debug/queue; anything else is a 404 that says so.
[[nodiscard]] HttpHandler status_handler(StatusPages pages);

}  // namespace kube
