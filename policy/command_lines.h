// Every command line that a container can be made to run: command and args, exec probes, exec
// hooks.
#pragma once

#include <array>
#include <string_view>

#include "pod_view.h"

namespace palisade::policy {

// Calls `visit(const Node& list)` with each list of words.
template <class Visit>
void each_command_line(const Container& container, Visit visit) {
  visit(container.command);
  visit(container.args);
  for (const Node* probe :
       {&container.liveness_probe, &container.readiness_probe, &container.startup_probe}) {
    if (probe->absent()) continue;
    const Node exec = (*probe)["exec"];
    const Node words = exec["command"];
    visit(words);
  }
  if (container.lifecycle.absent()) return;
  for (const std::string_view hook : {"postStart", "preStop"}) {
    const Node handler = container.lifecycle[hook];
    const Node exec = handler["exec"];
    const Node words = exec["command"];
    visit(words);
  }
}

}  // namespace palisade::policy
