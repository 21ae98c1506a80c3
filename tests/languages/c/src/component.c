/* The conformance project in C. `wit/probe.wit` says what each function is for. */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef exports_local_probe_probe_problem_t problem_t;

/* Fills in an error and returns what a function returns with one. */
static bool problem(problem_t *err, uint8_t tag, const char *text) {
    err->tag = tag;
    /* All cases hold a string. */
    tool_string_dup(&err->val.failed, text);
    return false;
}

static bool denied(problem_t *err) {
    return problem(err, EXPORTS_LOCAL_PROBE_PROBE_PROBLEM_FAILED, "access denied");
}

static bool no_answer(problem_t *err) {
    return problem(err, EXPORTS_LOCAL_PROBE_PROBE_PROBLEM_UNAVAILABLE, "no answer");
}

int32_t exports_local_probe_probe_add(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

bool exports_local_probe_probe_echo(exports_local_probe_probe_item_t *item, exports_local_probe_probe_item_t *ret,
                                    problem_t *err) {
    if (item->name.len == 0) {
        return problem(err, EXPORTS_LOCAL_PROBE_PROBE_PROBLEM_INVALID_INPUT, "`name` is empty");
    }
    *ret = *item;
    return true;
}

uint32_t exports_local_probe_probe_counter(void) {
    static uint32_t count = 0;
    return ++count;
}

void exports_local_probe_probe_crash(void) {
    abort();
}

void exports_local_probe_probe_spin(void) {
    for (volatile uint32_t turns = 0;; turns++) {
    }
}

uint32_t exports_local_probe_probe_hoard(uint32_t mebibytes) {
    for (uint32_t index = 0; index < mebibytes; index++) {
        char *block = malloc(1 << 20);
        if (block == NULL) {
            abort();
        }
        memset(block, 1, 1 << 20);
        /* The compiler may not leave out memory that something could read. */
        __asm__ volatile("" : : "r"(block) : "memory");
    }
    return mebibytes;
}

bool exports_local_probe_probe_read_file(tool_string_t *path, tool_string_t *ret, problem_t *err) {
    char *name = strndup((const char *)path->ptr, path->len);
    FILE *file = name == NULL ? NULL : fopen(name, "rb");
    free(name);
    if (file == NULL) {
        return problem(err, EXPORTS_LOCAL_PROBE_PROBE_PROBLEM_FAILED, strerror(errno));
    }
    char text[4096];
    size_t length = fread(text, 1, sizeof text, file);
    fclose(file);
    tool_string_dup_n(ret, text, length);
    return true;
}

static bool open_bucket(wasi_keyvalue_store_own_bucket_t *bucket, problem_t *err) {
    tool_string_t name = {0};
    wasi_keyvalue_store_error_t error;
    if (wasi_keyvalue_store_open(&name, bucket, &error)) {
        return true;
    }
    return error.tag == WASI_KEYVALUE_STORE_ERROR_ACCESS_DENIED ? denied(err) : no_answer(err);
}

bool exports_local_probe_probe_remember(tool_string_t *key, tool_string_t *value, problem_t *err) {
    wasi_keyvalue_store_own_bucket_t bucket;
    if (!open_bucket(&bucket, err)) {
        return false;
    }
    tool_list_u8_t bytes = {.ptr = value->ptr, .len = value->len};
    wasi_keyvalue_store_error_t error;
    return wasi_keyvalue_store_method_bucket_set(wasi_keyvalue_store_borrow_bucket(bucket), key, &bytes, &error) ||
           no_answer(err);
}

bool exports_local_probe_probe_recall(tool_string_t *key, tool_option_string_t *ret, problem_t *err) {
    wasi_keyvalue_store_own_bucket_t bucket;
    if (!open_bucket(&bucket, err)) {
        return false;
    }
    tool_option_list_u8_t value;
    wasi_keyvalue_store_error_t error;
    if (!wasi_keyvalue_store_method_bucket_get(wasi_keyvalue_store_borrow_bucket(bucket), key, &value, &error)) {
        return no_answer(err);
    }
    ret->is_some = value.is_some;
    if (value.is_some) {
        ret->val = (tool_string_t){.ptr = value.val.ptr, .len = value.val.len};
    }
    return true;
}

bool exports_local_probe_probe_setting(tool_string_t *key, tool_option_string_t *ret, problem_t *err) {
    wasi_config_store_error_t error;
    return wasi_config_store_get(key, ret, &error) || no_answer(err);
}

static bool http_problem(const wasi_http_types_error_code_t *code, problem_t *err) {
    return code->tag == WASI_HTTP_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED ? denied(err) : no_answer(err);
}

/* Reads a stream to its end. */
static bool read_all(wasi_io_streams_borrow_input_stream_t stream, tool_string_t *ret, problem_t *err) {
    *ret = (tool_string_t){0};
    while (true) {
        tool_list_u8_t bytes;
        wasi_io_streams_stream_error_t error;
        if (!wasi_io_streams_method_input_stream_blocking_read(stream, 1 << 16, &bytes, &error)) {
            return error.tag == WASI_IO_STREAMS_STREAM_ERROR_CLOSED || no_answer(err);
        }
        uint8_t *text = realloc(ret->ptr, ret->len + bytes.len + 1);
        if (text == NULL) {
            abort();
        }
        memcpy(text + ret->len, bytes.ptr, bytes.len);
        *ret = (tool_string_t){.ptr = text, .len = ret->len + bytes.len};
        tool_list_u8_free(&bytes);
    }
}

bool exports_local_probe_probe_fetch(tool_string_t *authority, tool_string_t *path, tool_string_t *ret, problem_t *err) {
    wasi_http_types_own_outgoing_request_t request =
        wasi_http_types_constructor_outgoing_request(wasi_http_types_constructor_fields());
    wasi_http_types_borrow_outgoing_request_t borrowed = wasi_http_types_borrow_outgoing_request(request);
    wasi_http_types_scheme_t scheme = {.tag = WASI_HTTP_TYPES_SCHEME_HTTP};
    if (!wasi_http_types_method_outgoing_request_set_scheme(borrowed, &scheme) ||
        !wasi_http_types_method_outgoing_request_set_authority(borrowed, authority) ||
        !wasi_http_types_method_outgoing_request_set_path_with_query(borrowed, path)) {
        return problem(err, EXPORTS_LOCAL_PROBE_PROBE_PROBLEM_INVALID_INPUT,
                       "`authority` or `path` can't be part of a URL");
    }
    wasi_http_types_own_future_incoming_response_t pending;
    wasi_http_types_error_code_t code;
    if (!wasi_http_outgoing_handler_handle(request, NULL, &pending, &code)) {
        return http_problem(&code, err);
    }
    wasi_http_types_borrow_future_incoming_response_t future = wasi_http_types_borrow_future_incoming_response(pending);
    wasi_io_poll_own_pollable_t ready = wasi_http_types_method_future_incoming_response_subscribe(future);
    wasi_io_poll_method_pollable_block(wasi_io_poll_borrow_pollable(ready));
    wasi_io_poll_pollable_drop_own(ready);
    wasi_http_types_result_result_own_incoming_response_error_code_void_t answer;
    if (!wasi_http_types_method_future_incoming_response_get(future, &answer) || answer.is_err) {
        return no_answer(err);
    }
    if (answer.val.ok.is_err) {
        return http_problem(&answer.val.ok.val.err, err);
    }
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_own_input_stream_t stream;
    return (wasi_http_types_method_incoming_response_consume(
                wasi_http_types_borrow_incoming_response(answer.val.ok.val.ok), &body) &&
            wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &stream))
               ? read_all(wasi_io_streams_borrow_input_stream(stream), ret, err)
               : no_answer(err);
}
