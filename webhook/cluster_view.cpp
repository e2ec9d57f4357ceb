#include <algorithm>

#include <webhook/cluster_view.h>

namespace palisade::webhook {

bool is_administrator(const Principals& principals, std::string_view user,
                      const std::vector<std::string_view>& groups) {
  return std::ranges::find(principals.administrator_users, user) !=
             principals.administrator_users.end() ||
         std::ranges::any_of(groups, [&](std::string_view group) {
           return std::ranges::find(principals.administrator_groups, group) !=
                  principals.administrator_groups.end();
         });
}

}  // namespace palisade::webhook
