// The header from C++17, linked against the same library.
#include <taskmet.h>

#include <string>

int main() {
  const std::string version = std::to_string(TASKMET_VERSION_MAJOR) + "." + std::to_string(TASKMET_VERSION_MINOR) +
                              "." + std::to_string(TASKMET_VERSION_PATCH);
  return version == taskmet_version() && taskmet_abi_version() == TASKMET_ABI_VERSION ? 0 : 1;
}
