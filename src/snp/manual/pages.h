// The manual pages (man(7) roff) and the completion of bash, made from the tables that the programs
// themselves use: commands, settings, reasons, steps of policy. Pure text.
#pragma once

#include <string>

namespace snp::manual {

std::string page_snp();        // snp.1
std::string page_snpd();       // snpd.8
std::string page_snp_toml();   // snp.toml.5
std::string page_snp_rules();  // snp.rules.5

std::string bash_completion();  // of snp

}  // namespace snp::manual
