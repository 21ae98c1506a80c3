/* Connects the logic with the functions of `wit/world.wit`. `tool.h` is generated when the component is built. */
#include "letters.h"
#include "tool.h"

bool exports_tool_count_letter(tool_string_t *text, tool_string_t *letter, uint32_t *ret, tool_string_t *err) {
    bool counted = letters_count((const char *)text->ptr, text->len, (const char *)letter->ptr, letter->len, ret);
    if (!counted) {
        tool_string_dup(err, "`letter` must be one character");
    }
    /* What the caller passed belongs to this function. */
    tool_string_free(text);
    tool_string_free(letter);
    return counted;
}
