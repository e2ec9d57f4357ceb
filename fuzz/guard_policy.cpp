// Guard's policy file: read strictly, or refused with a text that can be shown.
#include <guard/address.h>
#include <guard/policy.h>

#include "fuzz/json_mutator.h"

using namespace palisade;

namespace {

void absolute(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    fuzz::check(path.starts_with('/') && path.find('\0') == std::string::npos,
                "paths are absolute and can be given to the kernel", path);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMaxError = 1024;
  const std::string_view text = fuzz::view(data, size);
  const auto policy = guard::read_policy(text);
  const auto again = guard::read_policy(text);
  fuzz::check(policy.has_value() == again.has_value(), "a policy is read alike twice");
  if (!policy) {
    fuzz::check_shown(policy.error(), kMaxError);
    fuzz::check(!policy.error().empty() && policy.error() == again.error(), "an error says what");
    return 0;
  }
  fuzz::check(text.find(guard::kPolicyVersion) != std::string_view::npos ||
                  text.find('\\') != std::string_view::npos,
              "no policy without its version");
  fuzz::check(!policy->record.path.empty() && policy->record.path.starts_with('/'),
              "the record has an absolute path");
  absolute(policy->exec.allow);
  absolute(policy->exec.libraries);
  absolute(policy->files.read);
  absolute(policy->files.write);
  for (const guard::Peer& peer : policy->network.connect) {
    const auto range = guard::parse_cidr(peer.cidr);
    fuzz::check(range.has_value(), "a peer's range can be read again", peer.cidr);
    fuzz::check(peer.end_port == 0 || (peer.port != 0 && peer.end_port >= peer.port),
                "a range of ports has an order");
  }
  for (const guard::Unreachable& target : policy->preflight.unreachable)
    fuzz::check(guard::parse_address(target.address).has_value(),
                "an address to try can be read again", target.address);
  fuzz::check(policy->limits.processes == 0 || policy->limits.processes >= 64,
              "a limit of processes leaves room for a session");
  const auto zero = std::chrono::milliseconds(0);
  fuzz::check(policy->limits.deadline >= zero && policy->limits.idle >= zero &&
                  policy->limits.command >= zero && policy->preflight.timeout >= zero &&
                  policy->preflight.within >= zero,
              "no time is negative");
  return 0;
}
