#include "letters.h"

static char lower(char byte) {
    return byte >= 'A' && byte <= 'Z' ? (char)(byte - 'A' + 'a') : byte;
}

static bool starts_character(char byte) {
    return ((unsigned char)byte & 0xC0) != 0x80;
}

bool letters_count(const char *text, size_t text_len, const char *letter, size_t letter_len, uint32_t *count) {
    size_t characters = 0;
    for (size_t i = 0; i < letter_len; i++) {
        characters += starts_character(letter[i]);
    }
    if (characters != 1) {
        return false;
    }
    *count = 0;
    for (size_t start = 0; start + letter_len <= text_len; start++) {
        size_t same = 0;
        while (same < letter_len && lower(text[start + same]) == lower(letter[same])) {
            same++;
        }
        *count += same == letter_len;
    }
    return true;
}
