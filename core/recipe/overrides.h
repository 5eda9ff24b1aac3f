#pragma once

#include <string>
#include <vector>

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

namespace kiln {

/// The words `section.key=value` of a command line: the value in TOML, or a bare word taken as a
/// string. Keys may reach into nested tables (data.fields.image) and into lists of tables by their
/// number (data.views.0.size); the number after the last one adds a table. Throws Error(kUsage).
void apply_overrides(toml::table& root, const std::vector<std::string>& words);

/// What stands at a dotted key below `node`; null where nothing does.
const toml::node* node_at(const toml::node* node, const std::string& key);

}  // namespace kiln
