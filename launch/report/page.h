#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace kiln {

/// The page of report.html (launch/report/page/report.html) with `data` in it as JSON. No text in
/// `data` can end the element that holds it.
std::string page_with(const nlohmann::ordered_json& data);

}  // namespace kiln
