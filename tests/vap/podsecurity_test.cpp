// Upstream's fixtures of the Pod Security Standards as Aider pods: what breaks the standard is
// refused by the control that it breaks, and what keeps it is refused by none of the standard's.
#include "vap/podsecurity.h"

#include <map>
#include <set>

#include <gtest/gtest.h>

#include <policy/policy.h>

#include "policy/fixture.h"

namespace palisade::vap::testing {
namespace {

using nlohmann::json;

// Upstream's check (the name of the file before its number) and the control that is its like.
const std::map<std::string, std::string> kControls{
    {"allowprivilegeescalation", "no-privilege-escalation"},
    {"apparmorprofile", "apparmor"},
    {"capabilities_baseline", "drop-all-capabilities"},
    {"capabilities_restricted", "drop-all-capabilities"},
    {"hostnamespaces", "no-host-namespaces"},
    {"hostpathvolumes", "volume-types"},
    {"hostports", "host-ports"},
    {"hostprobesandhostlifecycle", "no-probe-host"},
    {"privileged", "not-privileged"},
    {"procmount", "proc-mount"},
    {"procmount_restricted", "proc-mount"},
    {"restrictedvolumes", "volume-types"},
    {"runasnonroot", "run-as-non-root"},
    {"runasuser", "non-zero-ids"},
    {"seccompprofile_baseline", "seccomp-profile"},
    {"seccompprofile_restricted", "seccomp-profile"},
    {"selinuxoptions", "selinux"},
    {"sysctls", "no-sysctls"},
    {"windowshostprocess", "no-windows-host-process"},
};

// Where the policy asks for more than the standard on purpose: fixture, and the controls that say
// so.
const std::map<std::string, std::set<std::string>> kStricter{
    // A profile on the node may allow everything.
    {"baseline/pass/apparmorprofile0", {"apparmor"}},
    {"restricted/pass/apparmorprofile0", {"apparmor"}},
    // An agent needs no sysctl, no port below 1024 and no unmasked /proc, not even the safe ones.
    {"baseline/pass/sysctls1", {"no-sysctls"}},
    {"restricted/pass/sysctls1", {"no-sysctls"}},
    {"restricted/pass/capabilities_restricted0", {"drop-all-capabilities"}},
    {"baseline/pass/procmount1", {"proc-mount"}},
    // The standard asks less of Windows, where agents do not run.
    {"restricted/pass/base_windows",
     {"drop-all-capabilities", "no-privilege-escalation", "seccomp-profile"}},
};

// Controls of the standard at this level, as their references say.
std::set<std::string> of_the_standard(const std::string& level) {
  std::set<std::string> out;
  for (const policy::Control& control : policy::controls()) {
    for (const std::string_view reference : control.references) {
      const bool baseline = reference.starts_with("Pod Security Standards: baseline,");
      const bool restricted = reference.starts_with("Pod Security Standards: restricted,");
      if (baseline || (restricted && level == "restricted")) out.emplace(control.id);
    }
  }
  return out;
}

// With what the policy asks for beside the standard: numbers of its own for user and group, and
// profiles that the settings name.
std::set<std::string> broken(PodSecurityFixture fixture) {
  json& security = fixture.pod["spec"]["securityContext"];
  for (const char* field : {"runAsUser", "runAsGroup"}) {
    if (!security.contains(field)) security[field] = 1001;
  }
  policy::Settings settings;
  settings.allowed_seccomp_localhost_profiles = {"testing"};
  return policy::testing::controls_of(policy::testing::findings_of(fixture.pod, settings));
}

TEST(PodSecurity, WhatBreaksTheStandardIsRefusedByItsControl) {
  int seen = 0;
  std::set<std::string> checks;
  for (const PodSecurityFixture& fixture : pod_security_fixtures()) {
    if (fixture.pass) continue;
    SCOPED_TRACE(fixture.title());
    ++seen;
    const std::string check =
        fixture.name.substr(0, fixture.name.find_last_not_of("0123456789") + 1);
    checks.insert(check);
    ASSERT_TRUE(kControls.contains(check)) << "a check of upstream's that no control answers for";
    EXPECT_TRUE(broken(fixture).contains(kControls.at(check)))
        << ::testing::PrintToString(broken(fixture));
  }
  EXPECT_GT(seen, 100);
  for (const auto& [check, control] : kControls)
    EXPECT_TRUE(checks.contains(check)) << check << " is no check of upstream's any more";
}

TEST(PodSecurity, WhatKeepsTheStandardIsRefusedByNoneOfItsControls) {
  int seen = 0;
  std::set<std::string> titles;
  for (const PodSecurityFixture& fixture : pod_security_fixtures()) {
    if (!fixture.pass) continue;
    ++seen;
    titles.insert(fixture.title());
    std::set<std::string> named;
    const auto standard = of_the_standard(fixture.level);
    for (const std::string& control : broken(fixture)) {
      if (standard.contains(control)) named.insert(control);
    }
    const auto stricter = kStricter.find(fixture.title());
    EXPECT_EQ(named, stricter == kStricter.end() ? std::set<std::string>{} : stricter->second)
        << fixture.title();
  }
  EXPECT_GT(seen, 30);
  for (const auto& [title, controls] : kStricter)
    EXPECT_TRUE(titles.contains(title)) << title << " is no fixture any more";
  EXPECT_EQ(of_the_standard("baseline").size(), 9U);
  EXPECT_EQ(of_the_standard("restricted").size(), 16U);
}

}  // namespace
}  // namespace palisade::vap::testing
