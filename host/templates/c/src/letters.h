/* The tool's logic, in plain C: `make test` runs it natively. */
#ifndef LETTERS_H
#define LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Counts how often a letter occurs in a text, both in UTF-8. Upper and lower case of ASCII letters are the same letter.
 * Returns false if `letter` isn't one character.
 */
bool letters_count(const char *text, size_t text_len, const char *letter, size_t letter_len, uint32_t *count);

#endif
