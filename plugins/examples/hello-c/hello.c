/* An element in C: puts a start page into the image. Files are opened as in any program; of the target there is what the needs of
 * manifest.json name as a whole tree, /srv, and nothing else. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "dibw.h"

#define DIRECTORY "/srv/www"
#define PAGE DIRECTORY "/index.html"

static const char *hook(const char *phase) {
    if (mkdir(DIRECTORY, 0755) && errno != EEXIST)
        return "cannot make " DIRECTORY;
    FILE *page = fopen(PAGE, "w");
    if (!page)
        return "cannot write " PAGE;
    fprintf(page, "<!doctype html>\n<title>It works</title>\n<p>This image was built by dibw.\n");
    if (fclose(page))
        return "cannot write " PAGE;
    printf("%s: wrote %s\n", phase, PAGE); /* a line in the build's log */
    return NULL;
}
