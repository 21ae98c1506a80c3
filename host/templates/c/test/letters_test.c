#include "letters.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static bool count(const char *text, const char *letter, uint32_t *found) {
    return letters_count(text, strlen(text), letter, strlen(letter), found);
}

int main(void) {
    uint32_t found = 0;
    assert(count("Strawberry R", "r", &found) && found == 4);
    assert(count("h\xc3\xb6her", "\xc3\xb6", &found) && found == 1);
    assert(count("", "r", &found) && found == 0);
    assert(!count("text", "", &found) && !count("text", "ab", &found));
    puts("ok");
    return 0;
}
