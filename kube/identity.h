// Who asks, as the headers of a request say it.
#pragma once

#include <kube/config.h>

namespace kube {

// Puts each part of `as` that is given in place of the configuration's. InvalidConfiguration where
// in the end uid, groups or extras are nobody's: to pass over them would act with more rights.
[[nodiscard]] Result<void> impersonate(Config& config, const Impersonation& as);

// Authorization, and Impersonate-*.
[[nodiscard]] Headers identity_headers(const Config& config);

}  // namespace kube
