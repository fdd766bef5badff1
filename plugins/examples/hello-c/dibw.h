/* What a typed element in C needs around its own code: the one function that dibw calls, as the component model's canonical ABI spells it
 * (sdk/wit/v0.1/element.wit, interface lifecycle). An element includes this file once and defines `hook`. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The author's: does the work of one phase. NULL, or why it failed, in one line. */
static const char *hook(const char *phase);

/* result<_, error>: whether it is an error, which of the contract's errors, and its text. */
struct dibw_result {
    uint8_t failed;
    uint8_t kind __attribute__((aligned(4)));
    const char *text;
    size_t length;
    uint32_t unused[4];
};

/* The place of `io(string)` in the contract's `variant error`. */
enum { DIBW_ERROR_IO = 3 };

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)old_size;
    (void)align; /* malloc gives 16, the ABI asks for 8 at most */
    void *new = realloc(old, size);
    if (!new && size)
        abort();
    return new;
}

__attribute__((export_name("dibw:element/lifecycle@0.1.0#run"))) struct dibw_result *dibw_run(char *phase, size_t length) {
    static struct dibw_result result;
    char name[64] = {0};
    memcpy(name, phase, length < sizeof name - 1 ? length : sizeof name - 1);
    const char *text = hook(name);
    fflush(NULL); /* nothing does that at the end of a component */
    result.failed = text != NULL;
    result.kind = DIBW_ERROR_IO;
    result.text = text ? text : "";
    result.length = strlen(result.text);
    return &result;
}
