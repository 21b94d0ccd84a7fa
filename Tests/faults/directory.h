/* What a directory holds: descriptors and threads of this process are entries of one, too. */
#ifndef TASKMET_TEST_DIRECTORY_H
#define TASKMET_TEST_DIRECTORY_H

#include <dirent.h>
#include <stdlib.h>

/* The number of entries, "." and ".." included. */
static int entries_of(const char *path) {
    int count = 0;
    DIR *stream = opendir(path);
    if (stream == NULL) abort();
    while (readdir(stream) != NULL) count += 1;
    closedir(stream);
    return count;
}

#endif
