/* Functions over strings and bytes in a plain core module, by the convention of docs/src/core-modules.md. Build it with
   clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o greet.wasm greet.c */

#include <stddef.h>
#include <stdint.h>

/* What the functions are, in WIT. Without it, only functions over numbers are seen. */
__asm__(
    ".section .custom_section.asterism_functions,\"\",@\n"
    ".ascii \"export greet: func(name: string) -> string;\"\n"
    ".ascii \"export checksum: func(data: list<u8>) -> u32;\"\n"
    ".ascii \"export factorial: func(n: u64) -> u64;\"\n"
    ".text\n");

#define EXPORT(name) __attribute__((export_name(#name)))

/* A string or a list of bytes, as a result: the address of these two. */
typedef struct {
  char *address;
  size_t length;
} text;

extern char __heap_base;
static char *heap;

/* Each task has an instance of its own, so nothing is ever freed. */
EXPORT(malloc) void *allocate(size_t size) {
  if (!heap) heap = &__heap_base;
  char *block = heap;
  size_t end = ((size_t)block + size + 15) & ~(size_t)15;
  size_t have = __builtin_wasm_memory_size(0) << 16;
  if (end > have && __builtin_wasm_memory_grow(0, (end - have + 0xffff) >> 16) == (size_t)-1) __builtin_trap();
  heap = (char *)end;
  return block;
}

static char *append(char *to, const char *from, size_t length) {
  for (size_t i = 0; i < length; i++) to[i] = from[i];
  return to + length;
}

EXPORT(greet) text *greet(const char *name, size_t length) {
  static text result;
  result.address = allocate(length + 8);
  char *end = append(result.address, "Hello, ", 7);
  end = append(end, name, length);
  end = append(end, "!", 1);
  result.length = (size_t)(end - result.address);
  return &result;
}

EXPORT(checksum) uint32_t checksum(const uint8_t *data, size_t length) {
  uint32_t sum = 2166136261u;
  for (size_t i = 0; i < length; i++) sum = (sum ^ data[i]) * 16777619u;
  return sum;
}

EXPORT(factorial) uint64_t factorial(uint64_t n) { return n < 2 ? 1 : n * factorial(n - 1); }
