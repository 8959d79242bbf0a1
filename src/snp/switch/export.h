// Marks the functions that take the place of the C library's. Everything else is hidden.
#pragma once

#define SNP_EXPORT extern "C" __attribute__((visibility("default")))
