// The commands of `palisade`: each adds itself to the command line and says how it runs.
#pragma once

#include <functional>
#include <iosfwd>

namespace CLI {
class App;
}

namespace palisade::cli {

struct Streams {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
};

// `run` is called where `app` was parsed; it returns the exit status (cli.h).
struct Command {
  CLI::App* app = nullptr;
  std::function<int(const Streams&)> run;
};

[[nodiscard]] Command add_create(CLI::App& parent);
[[nodiscard]] Command add_attach(CLI::App& parent);
[[nodiscard]] Command add_logs(CLI::App& parent);
[[nodiscard]] Command add_diff(CLI::App& parent);
[[nodiscard]] Command add_approve(CLI::App& parent);
[[nodiscard]] Command add_suspend(CLI::App& parent);
[[nodiscard]] Command add_resume(CLI::App& parent);
[[nodiscard]] Command add_delete(CLI::App& parent);
[[nodiscard]] Command add_list(CLI::App& parent);
[[nodiscard]] Command add_pools(CLI::App& parent);
[[nodiscard]] Command add_status(CLI::App& parent);
[[nodiscard]] Command add_check(CLI::App& parent);
[[nodiscard]] Command add_explain(CLI::App& parent);
[[nodiscard]] Command add_test(CLI::App& parent);
[[nodiscard]] Command add_scan(CLI::App& parent);
[[nodiscard]] Command add_doctor(CLI::App& parent);
[[nodiscard]] Command add_audit(CLI::App& parent);
[[nodiscard]] Command add_report(CLI::App& parent);
[[nodiscard]] Command add_permissions(CLI::App& parent);
[[nodiscard]] Command add_controls(CLI::App& parent);
[[nodiscard]] Command add_render(CLI::App& parent);
[[nodiscard]] Command add_ui(CLI::App& parent);
[[nodiscard]] Command add_completion(CLI::App& parent);
[[nodiscard]] Command add_version(CLI::App& parent);

}  // namespace palisade::cli
