/* A program that knows TaskMet only as it is installed: do header and library belong together? */
#include <stdio.h>
#include <string.h>

#include <taskmet.h>

int main(void) {
    char version[64];
    snprintf(version, sizeof version, "%d.%d.%d", TASKMET_VERSION_MAJOR, TASKMET_VERSION_MINOR, TASKMET_VERSION_PATCH);
    printf("library %s, header %s\n", taskmet_version(), version);
    if (strcmp(taskmet_version(), version) != 0) {
        return 1;
    }
    if (taskmet_abi_version() != TASKMET_ABI_VERSION) {
        return 2;
    }
    if (strcmp(taskmet_status_name(TASKMET_OK), "TASKMET_OK") != 0 || strcmp(taskmet_last_error(), "") != 0) {
        return 3;
    }
    return 0;
}
