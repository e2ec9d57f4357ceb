// Certificates of test servers on loopback.
#pragma once

#include <string>
#include <vector>

#include "kube/test_pki.h"

namespace palisade::gateway::testing {

inline test_pki::Leaf leaf(std::vector<std::string> names = {},
                           const std::string& common_name = "leaf") {
  test_pki::Leaf out;
  out.common_name = common_name;
  out.dns_names = std::move(names);
  out.addresses = {"127.0.0.1"};
  return out;
}

}  // namespace palisade::gateway::testing
