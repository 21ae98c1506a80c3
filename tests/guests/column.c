// A program in C for WASI 0.1: `column [-s SEPARATOR] NUMBER [FILE]` reads lines of fields, from standard input or a file, and
// prints how many numbers the column has, and their sum, minimum and maximum. It exits as sysexits.h says: 64 if it was called
// wrongly, 65 if a field isn't a number, 66 if the file can't be read.
//
// The core module beside this file is made of it; `.ci/run` says how, and that it still is.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USAGE = 64, DATA = 65, NO_INPUT = 66, LINE = 4096 };

static int usage(const char *problem) {
    fprintf(stderr, "column: %s\nusage: column [-s SEPARATOR] NUMBER [FILE]\n", problem);
    return USAGE;
}

// The field of this number in a line, or null. Cuts the line behind it.
static char *field(char *line, long number, char separator) {
    for (; number > 1; number--) {
        line = strchr(line, separator);
        if (!line) return NULL;
        line++;
    }
    line[strcspn(line, "\r\n")] = 0;
    char *end = strchr(line, separator);
    if (end) *end = 0;
    return line;
}

int main(int count, char **arguments) {
    char separator = ',';
    int at = 1;
    if (at < count && !strcmp(arguments[at], "-s")) {
        if (at + 1 >= count || strlen(arguments[at + 1]) != 1) return usage("-s needs one character");
        separator = arguments[at + 1][0];
        at += 2;
    }
    if (at < count && !strcmp(arguments[at], "--")) at++;
    long number = at < count ? strtol(arguments[at++], NULL, 10) : 0;
    if (number < 1) return usage("the number of a column is needed");
    FILE *file = stdin;
    if (at < count) {
        file = fopen(arguments[at], "r");
        if (!file) {
            fprintf(stderr, "column: %s: %s\n", arguments[at], strerror(errno));
            return NO_INPUT;
        }
    }
    static char line[LINE];
    long numbers = 0;
    double sum = 0, least = 0, most = 0;
    for (long lines = 1; fgets(line, sizeof line, file); lines++) {
        char *text = field(line, number, separator), *end;
        if (!text || !*text) continue;
        double value = strtod(text, &end);
        if (*end) {
            fprintf(stderr, "column: line %ld: `%s` isn't a number\n", lines, text);
            return DATA;
        }
        if (!numbers || value < least) least = value;
        if (!numbers || value > most) most = value;
        sum += value;
        numbers++;
    }
    printf("{\"count\":%ld,\"sum\":%.10g,\"minimum\":%.10g,\"maximum\":%.10g}\n", numbers, sum, least, most);
    return 0;
}
