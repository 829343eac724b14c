// Runs one launch of a CUDA kernel on a CPU: a fiber a thread, one block after another. See cuda_build.py.
//
// The kernel's own file is compiled with a call before each load and store (-fsanitize=kernel-address); those calls end
// here, where the address is looked up and the bytes are counted. This file is compiled without. The kernel has no
// address of anything here, and no load or store of it happens before it was found to lie in a tensor, in shared
// memory, in a variable of its own or on its own stack: so what is counted here is out of its reach.
//
// The launch comes on standard input, as numbers; what came of it goes to standard output, as lines. The tensors lie in
// the file that is named by the first argument, and are changed there.
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <initializer_list>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

typedef uintptr_t Address;
struct Index3 { unsigned x, y, z; };

extern "C" {
// Read by the kernel; set before a fiber goes on, and never read here: a kernel could write to them, by a cast.
Index3 threadIdx, blockIdx, blockDim, gridDim;
alignas(256) unsigned char cuda_dynamic[1 << 18];
uint64_t cuda_given[64];
[[noreturn]] void cuda_cpu_entry();
[[noreturn]] void cuda_done();
}

namespace {

enum Kind { TENSOR, SHARED, VARIABLE, CONSTANT };
enum { READ, WRITE, ATOMIC };
const size_t WIDTHS = 5;  // of 1, 2, 4, 8 and 16 bytes

struct Region {
  Address begin; size_t size; Kind kind;
  const unsigned char* mask;  // a byte for each byte: whether it belongs to the tensor; none where all do
  uint64_t bytes[3], accesses[2][WIDTHS + 1];  // one more for other widths
};

// Who has touched a byte of shared memory, and when. A time is the number of the synchronisations before.
struct Touch { uint32_t when; uint16_t who; uint8_t atomic; uint8_t any; };
struct Cell { Touch write, first_read, last_read; };

enum State { READY, BARRIER, WARP, DONE };

struct Fiber {
  jmp_buf start, at;
  ucontext_t made;
  Index3 index;
  State state;
  int line, operation; unsigned mask;     // of what it waits for
  uint64_t given, got; int source, value; // of a warp's operation; of a barrier's
};

const size_t STACK = 64 << 10, MAX_THREADS = 1024, WARP_SIZE = 32, MAX_REGIONS = 512;

Region regions[MAX_REGIONS]; size_t region_count; Region* last = regions;
Fiber fibers[MAX_THREADS]; size_t threads; Fiber* current; unsigned char* stacks;
jmp_buf scheduler; Index3 block_now, block_size, grid_size;
uint64_t random_state; unsigned order[MAX_THREADS];
Cell* cells[MAX_REGIONS];
uint32_t now, block_time, met[MAX_THREADS][WARP_SIZE];  // when two threads of a warp last met
uint64_t accesses_left;

size_t number_of(const Fiber* fiber) { return fiber - fibers; }
size_t lane(const Fiber* fiber) { return number_of(fiber) % WARP_SIZE; }

[[noreturn]] void end(int status) { fflush(stdout); _exit(status); }

// Says what went wrong, and ends. Python puts it into words: `line` is of the source, else `pc` leads to it.
[[noreturn]] void fault(const char* kind, int line, const void* pc, long long a = 0, long long b = 0, long long c = 0,
                        long long d = 0) {
  Index3 t = current ? current->index : Index3{0, 0, 0};
  printf("fault %s %d %llx %u %u %u %u %u %u %lld %lld %lld %lld\n", kind, line, (unsigned long long)(Address)pc,
         block_now.x, block_now.y, block_now.z, t.x, t.y, t.z, a, b, c, d);
  end(0);
}

void crashed(int signal) { fault("crash", 0, nullptr, signal); }

uint64_t next_random() {
  random_state ^= random_state << 13; random_state ^= random_state >> 7; random_state ^= random_state << 17;
  return random_state;
}

void shuffle(unsigned* list, size_t count) {
  for (size_t i = count; i > 1; i--) { size_t j = next_random() % i; unsigned t = list[i - 1]; list[i - 1] = list[j]; list[j] = t; }
}

// Whether what a thread did is seen to be over by the current one.
bool ordered(const Touch& touch) {
  size_t me = number_of(current), other = touch.who;
  if (!touch.any || touch.when < block_time || other == me) return true;
  return me / WARP_SIZE == other / WARP_SIZE && met[me][other % WARP_SIZE] > touch.when;
}

void watch(Region* region, Address address, size_t size, int what, const void* pc) {
  Cell* cell = cells[region - regions] + (address - region->begin);
  uint16_t me = number_of(current);
  for (size_t i = 0; i < size; i++, cell++) {
    bool atomic = what == ATOMIC;
    // Two plain writes are let pass: threads that all write the same to one place are common, and do no harm.
    bool harmless = what == READ ? false : atomic == cell->write.atomic;
    if (!harmless && !ordered(cell->write))
      fault("race", 0, pc, region - regions, address + i - region->begin, cell->write.who, 0);
    if (what != READ)
      for (Touch* read : {&cell->first_read, &cell->last_read})
        if (!ordered(*read)) fault("race", 0, pc, region - regions, address + i - region->begin, read->who, 1);
    if (what == READ) {
      if (!cell->first_read.any || cell->first_read.when < block_time || cell->first_read.who == me) cell->first_read = {now, me, 0, 1};
      else cell->last_read = {now, me, 0, 1};
    } else cell->write = {now, me, atomic, 1};
  }
}

size_t width(size_t size) {
  for (size_t i = 0; i < WIDTHS; i++) if (size == 1u << i) return i;
  return WIDTHS;
}

Region* find(Address address) {
  if (address - last->begin < last->size) return last;
  for (size_t i = 0; i < region_count; i++)
    if (address - regions[i].begin < regions[i].size) return last = &regions[i];
  return nullptr;
}

// The tensor or variable that begins last before an address: what was probably meant.
Region* nearest(Address address) {
  Region* found = nullptr; Address distance = 1 << 16;
  for (size_t i = 0; i < region_count; i++) {
    Region& r = regions[i];
    if (!r.size && r.kind != TENSOR) continue;
    Address apart = address < r.begin ? r.begin - address : address - r.begin - r.size + 1;
    if (apart < distance) { found = &r; distance = apart; }
  }
  return found;
}

void touch(Address address, size_t size, int what, const void* pc) {
  if (accesses_left-- == 0) fault("endless", 0, pc);
  Address stack = (Address)(stacks + number_of(current) * STACK);
  if (address - stack < STACK) {
    // What lies below this call's own frame is nobody's; the kernel never returns, so no address of code lies above.
    if (address >= (Address)__builtin_frame_address(0) && size <= stack + STACK - address) return;
    fault("wild", 0, pc, what, size);
  }
  Region* region = find(address);
  if (!region || size > region->begin + region->size - address) {
    region = region ? region : nearest(address);
    if (!region) fault("wild", 0, pc, what, size);
    fault("bounds", 0, pc, region - regions, (long long)(address - region->begin), size, what);
  }
  size_t offset = address - region->begin;
  if (region->mask)
    for (size_t i = 0; i < size; i++) if (!region->mask[offset + i]) fault("bounds", 0, pc, region - regions, offset, size, what);
  if (region->kind == TENSOR) {
    region->bytes[what] += size;
    if (what != ATOMIC) region->accesses[what][width(size)]++;
  } else if (region->kind == SHARED) watch(region, address, size, what, pc);
  else if (region->kind == CONSTANT && what != READ) fault("constant", 0, pc, region - regions);
}

void wait_as(State state, int line) {
  current->state = state; current->line = line;
  Fiber* self = current;
  if (_setjmp(self->at) == 0) _longjmp(scheduler, 1);
}

// The function that each fiber's stack begins with. It keeps nothing on the stack that the kernel could spoil.
void begin() {
  if (_setjmp(current->start) == 0) _longjmp(scheduler, 1);
  cuda_cpu_entry();
}

void run_until_it_waits(Fiber* fiber, bool fresh) {
  current = fiber; threadIdx = fiber->index; blockIdx = block_now; blockDim = block_size; gridDim = grid_size;
  if (_setjmp(scheduler) == 0) _longjmp(fresh ? fiber->start : fiber->at, 1);
}

void make_fibers() {
  stacks = (unsigned char*)mmap(nullptr, threads * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) fault("memory", 0, nullptr);
  for (size_t i = 0; i < threads; i++) {
    current = &fibers[i];
    getcontext(&current->made);
    current->made.uc_stack.ss_sp = stacks + i * STACK;
    current->made.uc_stack.ss_size = STACK;
    makecontext(&current->made, begin, 0);
    if (_setjmp(scheduler) == 0) setcontext(&current->made);
  }
}

// The operations of a warp. Each ends for all threads that its mask names when the last of them arrives.
enum Operation { SYNC, SHUFFLE, BALLOT };

bool warp_meets(Fiber* arrived) {
  size_t base = number_of(arrived) / WARP_SIZE * WARP_SIZE, here = threads - base < WARP_SIZE ? threads - base : WARP_SIZE;
  unsigned mask = arrived->mask;
  for (size_t i = 0; i < here; i++) {
    Fiber& f = fibers[base + i];
    if (!(mask >> i & 1) || f.state == DONE) continue;
    if (f.state != WARP) return false;
    if (f.mask != mask || f.operation != arrived->operation) {
      current = arrived;
      fault("warp", arrived->line, nullptr, base + i, f.line, f.mask, mask);
    }
  }
  unsigned votes = 0;
  for (size_t i = 0; i < here; i++)
    if (mask >> i & 1 && fibers[base + i].state == WARP && fibers[base + i].given) votes |= 1u << i;
  now++;
  for (size_t i = 0; i < here; i++) {
    Fiber& f = fibers[base + i];
    if (!(mask >> i & 1) || f.state != WARP) continue;
    if (f.operation == BALLOT) f.got = votes;
    if (f.operation == SHUFFLE) {  // from a thread that is not there comes what nobody may use: NaN
      size_t s = f.source;
      bool there = s < here && mask >> s & 1 && fibers[base + s].state == WARP;
      f.got = there ? fibers[base + s].given : ~0ull;
    }
    for (size_t j = 0; j < here; j++) if (mask >> j & 1) met[base + i][j] = now;
  }
  for (size_t i = 0; i < here; i++) if (mask >> i & 1 && fibers[base + i].state == WARP) fibers[base + i].state = READY;
  return true;
}

uint64_t warp(int operation, unsigned mask, uint64_t given, int source, int line) {
  Fiber* self = current;
  if (!(mask >> lane(self) & 1)) fault("mask", line, nullptr, lane(self), mask);
  self->operation = operation; self->mask = mask; self->given = given; self->source = source;
  self->state = WARP; self->line = line;
  if (!warp_meets(self)) wait_as(WARP, line);
  return self->got;
}

Fiber* any_in(State state) {
  for (size_t i = 0; i < threads; i++) if (fibers[i].state == state) return &fibers[i];
  return nullptr;
}

// All threads that are not done wait. Lets them go on from a barrier, or says why they never will.
void release() {
  for (size_t i = 0; i < threads; i++)  // those that the last of a warp has left waiting when it ended
    if (fibers[i].state == WARP && warp_meets(&fibers[i])) return;
  Fiber *first = any_in(BARRIER), *in_warp = any_in(WARP), *done = any_in(DONE);
  if (in_warp) { current = in_warp; fault("warp stuck", in_warp->line, nullptr, in_warp->mask, first ? first->line : 0); }
  current = first;
  if (done) fault("divergent", first->line, nullptr, number_of(done), 0);
  long long count = 0;
  for (size_t i = 0; i < threads; i++) {
    if (fibers[i].line != first->line) fault("divergent", first->line, nullptr, i, fibers[i].line);
    count += fibers[i].value != 0;
  }
  block_time = ++now;
  for (size_t i = 0; i < threads; i++) { fibers[i].state = READY; fibers[i].got = count; }
}

void run_block() {
  now++; block_time = now;
  for (size_t i = 0; i < region_count; i++) if (regions[i].kind == SHARED) memset((void*)regions[i].begin, 0xFF, regions[i].size);
  for (size_t i = 0; i < threads; i++) fibers[i].state = READY;
  for (bool fresh = true;; fresh = false) {
    shuffle(order, threads);
    bool ran = false; size_t done = 0;
    for (size_t i = 0; i < threads; i++) {
      Fiber* fiber = &fibers[order[i]];
      if (fiber->state == READY) { run_until_it_waits(fiber, fresh); ran = true; }
      done += fiber->state == DONE;
    }
    if (done == threads) return;
    if (!ran) release();
  }
}

uint64_t number() {
  unsigned long long n;
  if (scanf("%llu", &n) != 1) { printf("fault launch 0 0 0 0 0 0 0 0 0 0 0 0\n"); end(1); }
  return n;
}

Index3 number3() { unsigned x = number(), y = number(), z = number(); return {x, y, z}; }

Region* add(Kind kind, Address begin, size_t size, const unsigned char* mask) {
  if (region_count == MAX_REGIONS) fault("memory", 0, nullptr);
  Region* region = &regions[region_count++];
  *region = Region{begin, size, kind, mask, {}, {}};
  if (kind == SHARED && size) cells[region - regions] = (Cell*)calloc(size, sizeof(Cell));
  return region;
}

void read_launch(unsigned char* data) {
  grid_size = number3(); block_size = number3();
  threads = (size_t)block_size.x * block_size.y * block_size.z;
  random_state = number() * 0x9E3779B97F4A7C15ull | 1;
  accesses_left = number();
  for (int resource : {RLIMIT_AS, RLIMIT_CPU}) { rlim_t most = number(); rlimit limit = {most, most}; setrlimit((__rlimit_resource)resource, &limit); }
  size_t count = number();  // of tensors: where each begins in the file, its size, and its mask or 0
  for (size_t i = 0; i < count; i++) {
    size_t begin = number(), size = number(), mask = number();
    add(TENSOR, (Address)data + begin, size, mask ? data + mask : nullptr);
  }
  count = number();  // of arguments: a pointer, as a place in the file, or the bits of a number
  for (size_t i = 0; i < count; i++) {
    bool pointer = number(); uint64_t value = number();
    cuda_given[i] = pointer ? (Address)data + value : value;
  }
  add(SHARED, (Address)cuda_dynamic, number(), nullptr);
  count = number();  // of variables: kind, address, size
  for (size_t i = 0; i < count; i++) { Kind kind = (Kind)number(); Address begin = number(); add(kind, begin, number(), nullptr); }
}

void say_counts() {
  for (size_t i = 0; i < region_count && regions[i].kind == TENSOR; i++) {
    printf("tensor %llu %llu %llu", (unsigned long long)regions[i].bytes[READ], (unsigned long long)regions[i].bytes[WRITE], (unsigned long long)regions[i].bytes[ATOMIC]);
    for (auto& kind : regions[i].accesses) for (uint64_t n : kind) printf(" %llu", (unsigned long long)n);
    printf("\n");
  }
}

void catch_signals() {
  static unsigned char other[1 << 16];
  stack_t stack = {}; stack.ss_sp = other; stack.ss_size = sizeof other;
  sigaltstack(&stack, nullptr);
  struct sigaction action = {}; action.sa_handler = crashed; action.sa_flags = SA_ONSTACK;
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigaction(signal, &action, nullptr);
}

template <class T> T bits_as(uint64_t bits) { T value; memcpy(&value, &bits, sizeof value); return value; }

enum Atomic { ADD, EXCHANGE, MIN, MAX, AND, OR, XOR, CAS, INC, DEC };

template <class T> T changed(int operation, T old, T v, T compare) {
  switch (operation) {
    case ADD: return old + v;
    case MIN: return v < old ? v : old;
    case MAX: return v > old ? v : old;
    case CAS: return old == compare ? v : old;
    case INC: return old >= v ? 0 : old + 1;
    case DEC: return old == 0 || old > v ? v : old - 1;
    default: return v;
  }
}

template <class T> T changed_integer(int operation, T old, T v, T compare) {
  switch (operation) {
    case AND: return old & v;
    case OR: return old | v;
    case XOR: return old ^ v;
    default: return changed(operation, old, v, compare);
  }
}

}  // namespace

// What the kernel's file may call. `cuda_build.CALLABLE` lists it.
extern "C" {

void cuda_done() { current->state = DONE; _longjmp(scheduler, 1); }

int cuda_barrier(int line, int value) { current->value = value; wait_as(BARRIER, line); return (int)current->got; }

void cuda_warp_sync(unsigned mask, int line) { warp(SYNC, mask, 0, 0, line); }

unsigned cuda_ballot(unsigned mask, int predicate, int line) { return warp(BALLOT, mask, predicate != 0, 0, line); }

uint64_t cuda_shuffle(unsigned mask, uint64_t bits, int source, int line) { return warp(SHUFFLE, mask, bits, source, line); }

unsigned cuda_lane() { return lane(current); }

#define ATOMIC_OF(NAME, T, CHANGE)                                                        \
  T NAME(int operation, T* place, T value, T compare) {                                  \
    if ((Address)place % sizeof(T)) fault("alignment", 0, __builtin_return_address(0), sizeof(T)); \
    touch((Address)place, sizeof(T), ATOMIC, __builtin_return_address(0));                \
    T old = *place;                                                                      \
    *place = CHANGE(operation, old, value, compare);                                     \
    return old;                                                                          \
  }
ATOMIC_OF(cuda_atomic_i32, int32_t, changed_integer)
ATOMIC_OF(cuda_atomic_u32, uint32_t, changed_integer)
ATOMIC_OF(cuda_atomic_i64, int64_t, changed_integer)
ATOMIC_OF(cuda_atomic_u64, uint64_t, changed_integer)
ATOMIC_OF(cuda_atomic_f32, float, changed)
ATOMIC_OF(cuda_atomic_f64, double, changed)

unsigned short cuda_float_to_half(float value) {
  uint32_t x; memcpy(&x, &value, 4);
  uint32_t sign = x >> 16 & 0x8000, e = x >> 23 & 0xFF, m = x & 0x7FFFFF;
  if (e == 255) return sign | 0x7C00 | (m ? 0x200 | m >> 13 : 0);
  int exponent = (int)e - 112;
  if (exponent >= 31) return sign | 0x7C00;
  if (exponent < -10) return sign;
  m |= e ? 0x800000 : 0;
  int drop = exponent > 0 ? 13 : 14 - exponent;
  uint32_t kept = m >> drop, rest = m & ((1u << drop) - 1), half = 1u << (drop - 1);
  kept += rest > half || (rest == half && kept & 1);
  return sign | (exponent > 0 ? ((uint32_t)(exponent - 1) << 10) + kept : kept);
}

float cuda_half_to_float(unsigned short h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3FF, x;
  if (e == 31) x = 0x7F800000 | m << 13;
  else if (e) x = (e + 112) << 23 | m << 13;
  else { float f = m * 0x1p-24f; memcpy(&x, &f, 4); }
  return bits_as<float>(sign | x);
}

unsigned short cuda_float_to_bfloat16(float value) {
  uint32_t x; memcpy(&x, &value, 4);
  if (value != value) return x >> 16 | 0x40;
  return (x + 0x7FFF + (x >> 16 & 1)) >> 16;
}

#define EACH(SIZE)                                                                                              \
  void __asan_load##SIZE(Address a) { touch(a, SIZE, READ, __builtin_return_address(0)); }                      \
  void __asan_store##SIZE(Address a) { touch(a, SIZE, WRITE, __builtin_return_address(0)); }
EACH(1) EACH(2) EACH(4) EACH(8) EACH(16)
void __asan_loadN(Address a, size_t size) { touch(a, size, READ, __builtin_return_address(0)); }
void __asan_storeN(Address a, size_t size) { touch(a, size, WRITE, __builtin_return_address(0)); }
void __asan_handle_no_return() {}

// What the build adds for stores that g++ has not announced, since it has just announced the same address. It stands
// between two instructions, so it keeps all registers; the address comes in rdi.
void cuda_unannounced(Address address, const void* pc, size_t size) { touch(address, size, WRITE, pc); }

#define STUB(NAME, SIZE)                                                                                               \
  asm(".globl " NAME "\n" NAME ":\n"                                                                                   \
      "pushq %rax\n pushq %rcx\n pushq %rdx\n pushq %rsi\n pushq %r8\n pushq %r9\n pushq %r10\n pushq %r11\n"              \
      "subq $264, %rsp\n"                                                                                              \
      ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n movups %xmm\\n, 16*\\n(%rsp)\n .endr\n"            \
      "movq 328(%rsp), %rsi\n movl $" #SIZE ", %edx\n call cuda_unannounced\n"                                       \
      ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n movups 16*\\n(%rsp), %xmm\\n\n .endr\n"            \
      "addq $264, %rsp\n"                                                                                              \
      "popq %r11\n popq %r10\n popq %r9\n popq %r8\n popq %rsi\n popq %rdx\n popq %rcx\n popq %rax\n ret\n");
STUB("cuda_store1", 1) STUB("cuda_store2", 2) STUB("cuda_store4", 4) STUB("cuda_store8", 8) STUB("cuda_store16", 16)

struct Place { const char* file; uint32_t line, column; };
struct Type { uint16_t kind, info; char name[1]; };
struct Mismatch { Place place; Type* type; unsigned char log_alignment, kind; };

void __ubsan_handle_type_mismatch_v1_abort(Mismatch* m, Address a) {
  fault("alignment", m->place.line, nullptr, 1ll << m->log_alignment, a & ((1ll << m->log_alignment) - 1));
}
struct OutOfBounds { Place place; Type *array, *index; };
void __ubsan_handle_out_of_bounds_abort(OutOfBounds* o, uint64_t index) {
  // An index of up to 64 bits comes as its bits; `info` holds the logarithm of its bits, and whether it is signed.
  unsigned bits = 1u << (o->index->info >> 1);
  if (o->index->info & 1 && bits < 64) index = (uint64_t)((int64_t)(index << (64 - bits)) >> (64 - bits));
  fault("index", o->place.line, nullptr, (long long)index);
}
void __ubsan_handle_divrem_overflow_abort(Place* place, uint64_t, uint64_t) { fault("division", place->line, nullptr); }
}

int main(int, char** given) {
  int file = open(given[1], O_RDWR);
  struct stat status;
  if (file < 0 || fstat(file, &status)) return 1;
  unsigned char* data = (unsigned char*)mmap(nullptr, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) return 1;
  close(file);
  catch_signals();
  read_launch(data);
  for (size_t i = 0; i < threads; i++) {
    order[i] = i;
    unsigned x = block_size.x, y = block_size.y;
    fibers[i].index = {(unsigned)(i % x), (unsigned)(i / x % y), (unsigned)(i / x / y)};
  }
  make_fibers();
  // Blocks in an order of their own: a walk with a step that shares no factor with their number visits each once.
  uint64_t x = grid_size.x, y = grid_size.y, blocks = x * y * grid_size.z, step = next_random() % blocks | 1, at = next_random() % blocks;
  for (auto common = [](uint64_t a, uint64_t b) { while (b) { uint64_t r = a % b; a = b; b = r; } return a; }; common(step, blocks) != 1;) step += 2;
  for (uint64_t i = 0; i < blocks; i++, at = (at + step) % blocks) {
    block_now = {(unsigned)(at % x), (unsigned)(at / x % y), (unsigned)(at / x / y)};
    run_block();
  }
  say_counts();
  printf("done\n");
  end(0);
}
