// A guest in C that looks for what an earlier call left in its memory, its table or its globals, and then leaves something in
// all of them. It traps where it finds anything. Asked to look `twice`, it finds what it left itself.
//
// The core module beside this file is made of it; `.ci/run` says how, and that it still is.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CONTRACT "cofferdam:tool/tools@0.1.0#"
#define EXPORT(name) __attribute__((export_name(name)))

enum { MARK = 0x5a, ZEROED = 128 << 10, FRESH = 128 << 10, CHUNK = 32 << 10 };

static int one(void) { return 1; }
static int two(void) { return 2; }

// Each lives where C keeps its kind: initialised, zeroed, and a place in the table.
static uint64_t initialised[512] = {[0] = 1, [511] = 2};
static uint64_t zeroed[ZEROED / 8];
static int (*volatile function)(void) = one;

static int is_zero(const void *block, size_t bytes) {
    const uint64_t *words = block;
    for (size_t at = 0; at < bytes / sizeof *words; at++)
        if (words[at] != 0) return 0;
    return 1;
}

static void look(void) {
    if (initialised[0] != 1 || initialised[511] != 2) __builtin_trap();
    if (!is_zero(&initialised[1], 510 * sizeof *initialised)) __builtin_trap();
    if (!is_zero(zeroed, sizeof zeroed)) __builtin_trap();
    if (function() != 1) __builtin_trap();
}

static void leave(void) {
    memset(initialised, MARK, sizeof initialised);
    memset(zeroed, MARK, sizeof zeroed);
    function = two;
    for (size_t left = FRESH; left > 0; left -= CHUNK) {
        // Nothing is ever freed, so it was never used before.
        void *volatile fresh = malloc(CHUNK);
        if (!fresh || !is_zero(fresh, CHUNK)) __builtin_trap();
        memset(fresh, MARK, CHUNK);
    }
}

// Results as the canonical ABI lays them out.
struct text { const char *bytes; size_t length; };
struct tool { struct text name, description, schema; uint32_t no_annotations; };
struct tools { uint32_t error; const struct tool *tools; size_t count; };
struct content { uint32_t is_text; struct text text; uint32_t unused[2]; };
struct answer { uint64_t error; const struct content *contents; size_t count; };

#define TEXT(literal) {literal, sizeof literal - 1}

EXPORT(CONTRACT "list-tools") const struct tools *list_tools(void) {
    static const struct tool tool = {
        TEXT("slots_c"), TEXT("Looks for what other calls left."), TEXT("{\"type\":\"object\"}"), 0};
    static const struct tools tools = {0, &tool, 1};
    return &tools;
}

EXPORT(CONTRACT "call-tool") const struct answer *call_tool(const char *name, size_t length, const char *input, size_t size) {
    static const struct content done = {0, TEXT("1"), {0}};
    static const struct answer answer = {0, &done, 1};
    (void)name, (void)length;
    look();
    leave();
    // `{"twice":true}`, of which nothing else is that long.
    if (input && size > 2) look();
    return &answer;
}

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)old, (void)old_size, (void)align;
    return size ? malloc(size) : (void *)8;
}
