// What CUDA C means to a C++ compiler for CPUs: included before the text of a kernel. See cuda_build.py.
//
// No standard header is included, so that nothing but CUDA C has a meaning in a kernel and so that it compiles at once.
// What is not inline here is in cuda_fibers.cpp.
#pragma once

#define CUDA_INLINE inline __attribute__((always_inline))
#define __global__ __attribute__((always_inline))
#define __device__ __attribute__((always_inline))
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __inline__ inline
#define __constant__
#define __managed__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict
#define __shared__ static __attribute__((aligned(16)))  // blocks run one after another

typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t; typedef unsigned long long uint64_t;
typedef unsigned char uchar; typedef unsigned short ushort; typedef unsigned int uint; typedef unsigned long ulong;
typedef __SIZE_TYPE__ size_t; typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef __UINTPTR_TYPE__ uintptr_t; typedef __INTPTR_TYPE__ intptr_t;
typedef long long longlong; typedef unsigned long long ulonglong;

#define CUDA_VECTORS(T, N, A2, A4)                                                                                   \
  struct N##1 { T x; };                                                                                              \
  struct __align__(A2) N##2 { T x, y; };                                                                             \
  struct N##3 { T x, y, z; };                                                                                        \
  struct __align__(A4) N##4 { T x, y, z, w; };                                                                       \
  CUDA_INLINE N##1 make_##N##1(T x) { return {x}; }                                                                  \
  CUDA_INLINE N##2 make_##N##2(T x, T y) { return {x, y}; }                                                          \
  CUDA_INLINE N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }                                                  \
  CUDA_INLINE N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDA_VECTORS(signed char, char, 2, 4)
CUDA_VECTORS(unsigned char, uchar, 2, 4)
CUDA_VECTORS(short, short, 4, 8)
CUDA_VECTORS(unsigned short, ushort, 4, 8)
CUDA_VECTORS(int, int, 8, 16)
CUDA_VECTORS(unsigned int, uint, 8, 16)
CUDA_VECTORS(long long, longlong, 16, 16)
CUDA_VECTORS(unsigned long long, ulonglong, 16, 16)
CUDA_VECTORS(float, float, 8, 16)
CUDA_VECTORS(double, double, 16, 16)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

extern "C" {
extern const uint3 threadIdx, blockIdx, blockDim, gridDim;
extern const uint64_t cuda_given[64];  // the arguments
__attribute__((noreturn)) void cuda_done();
int cuda_barrier(int line, int value);
void cuda_warp_sync(unsigned mask, int line);
unsigned cuda_ballot(unsigned mask, int predicate, int line);
uint64_t cuda_shuffle(unsigned mask, uint64_t bits, int source, int line);
unsigned cuda_lane();
int cuda_atomic_i32(int operation, int* place, int value, int compare);
unsigned cuda_atomic_u32(int operation, unsigned* place, unsigned value, unsigned compare);
int64_t cuda_atomic_i64(int operation, int64_t* place, int64_t value, int64_t compare);
uint64_t cuda_atomic_u64(int operation, uint64_t* place, uint64_t value, uint64_t compare);
float cuda_atomic_f32(int operation, float* place, float value, float compare);
double cuda_atomic_f64(int operation, double* place, double value, double compare);
unsigned short cuda_float_to_half(float value);
float cuda_half_to_float(unsigned short bits);
unsigned short cuda_float_to_bfloat16(float value);
}
constexpr int warpSize = 32;

// Barriers, and what a warp does together. Each says its line: threads that meet at one must be at the same.
#define __syncthreads() ((void)cuda_barrier(__LINE__, 0))
#define __syncthreads_count(p) cuda_barrier(__LINE__, !!(p))
#define __syncthreads_or(p) (cuda_barrier(__LINE__, !!(p)) != 0)
#define __syncthreads_and(p) (cuda_barrier(__LINE__, !(p)) == 0)
#define __syncwarp(...) cuda_sync_warp(__LINE__ __VA_OPT__(,) __VA_ARGS__)
#define __ballot_sync(mask, p) cuda_ballot(mask, !!(p), __LINE__)
#define __any_sync(mask, p) (cuda_ballot(mask, !!(p), __LINE__) != 0)
#define __all_sync(mask, p) (cuda_ballot(mask, !(p), __LINE__) == 0)
#define __shfl_sync(mask, ...) cuda_shuffled(cuda_indexed, __LINE__, mask, __VA_ARGS__)
#define __shfl_up_sync(mask, ...) cuda_shuffled(cuda_up, __LINE__, mask, __VA_ARGS__)
#define __shfl_down_sync(mask, ...) cuda_shuffled(cuda_down, __LINE__, mask, __VA_ARGS__)
#define __shfl_xor_sync(mask, ...) cuda_shuffled(cuda_xor, __LINE__, mask, __VA_ARGS__)
#define __threadfence() ((void)0)
#define __threadfence_block() ((void)0)
#define __threadfence_system() ((void)0)

enum cuda_source { cuda_indexed, cuda_up, cuda_down, cuda_xor };

CUDA_INLINE void cuda_sync_warp(int line, unsigned mask = 0xFFFFFFFFu) { cuda_warp_sync(mask, line); }

template <class T>
CUDA_INLINE T cuda_shuffled(cuda_source from, int line, unsigned mask, T value, int where, int width = 32) {
  static_assert(sizeof(T) <= 8, "a shuffle passes on at most 8 bytes");
  int lane = (int)cuda_lane(), first = lane & ~(width - 1), source = lane;
  switch (from) {
    case cuda_indexed: source = first + (where & (width - 1)); break;
    case cuda_up: source = lane - where < first ? lane : lane - where; break;
    case cuda_down: source = lane + where >= first + width ? lane : lane + where; break;
    case cuda_xor: source = (lane ^ where) >= first + width ? lane : lane ^ where; break;
  }
  union Bits { uint64_t all; T value; CUDA_INLINE Bits() : all(0) {} } bits;
  bits.value = value;
  bits.all = cuda_shuffle(mask, bits.all, source, line);
  return bits.value;
}

// Atomics. `unsigned long` and `long` are as wide as `long long` here, as on Linux with CUDA.
enum { cuda_add, cuda_exchange, cuda_min, cuda_max, cuda_and, cuda_or, cuda_xor_, cuda_cas, cuda_inc, cuda_dec };
#define CUDA_ATOMIC(NAME, OPERATION, T, KIND) \
  CUDA_INLINE T NAME(T* place, T value) { return cuda_atomic_##KIND(OPERATION, place, value, 0); }
#define CUDA_ATOMICS(NAME, OPERATION)          \
  CUDA_ATOMIC(NAME, OPERATION, int, i32)       \
  CUDA_ATOMIC(NAME, OPERATION, unsigned, u32)  \
  CUDA_ATOMIC(NAME, OPERATION, int64_t, i64)   \
  CUDA_ATOMIC(NAME, OPERATION, uint64_t, u64)
CUDA_ATOMICS(atomicMin, cuda_min)
CUDA_ATOMICS(atomicMax, cuda_max)
CUDA_ATOMICS(atomicAnd, cuda_and)
CUDA_ATOMICS(atomicOr, cuda_or)
CUDA_ATOMICS(atomicXor, cuda_xor_)
CUDA_ATOMIC(atomicAdd, cuda_add, int, i32)
CUDA_ATOMIC(atomicAdd, cuda_add, unsigned, u32)
CUDA_ATOMIC(atomicAdd, cuda_add, uint64_t, u64)
CUDA_ATOMIC(atomicAdd, cuda_add, float, f32)
CUDA_ATOMIC(atomicAdd, cuda_add, double, f64)
CUDA_ATOMIC(atomicExch, cuda_exchange, int, i32)
CUDA_ATOMIC(atomicExch, cuda_exchange, unsigned, u32)
CUDA_ATOMIC(atomicExch, cuda_exchange, uint64_t, u64)
CUDA_ATOMIC(atomicExch, cuda_exchange, float, f32)
CUDA_ATOMIC(atomicInc, cuda_inc, unsigned, u32)
CUDA_ATOMIC(atomicDec, cuda_dec, unsigned, u32)
CUDA_INLINE int atomicSub(int* place, int value) { return cuda_atomic_i32(cuda_add, place, -value, 0); }
CUDA_INLINE unsigned atomicSub(unsigned* place, unsigned value) { return cuda_atomic_u32(cuda_add, place, -value, 0); }
CUDA_INLINE int atomicCAS(int* p, int compare, int value) { return cuda_atomic_i32(cuda_cas, p, value, compare); }
CUDA_INLINE unsigned atomicCAS(unsigned* p, unsigned compare, unsigned value) { return cuda_atomic_u32(cuda_cas, p, value, compare); }
CUDA_INLINE uint64_t atomicCAS(uint64_t* p, uint64_t compare, uint64_t value) { return cuda_atomic_u64(cuda_cas, p, value, compare); }

// Loads and stores that say how they use the caches.
#define CUDA_LOAD(NAME) template <class T> CUDA_INLINE T NAME(const T* place) { return *place; }
#define CUDA_STORE(NAME) template <class T> CUDA_INLINE void NAME(T* place, T value) { *place = value; }
CUDA_LOAD(__ldg) CUDA_LOAD(__ldca) CUDA_LOAD(__ldcg) CUDA_LOAD(__ldcs) CUDA_LOAD(__ldlu) CUDA_LOAD(__ldcv)
CUDA_STORE(__stwb) CUDA_STORE(__stcg) CUDA_STORE(__stcs) CUDA_STORE(__stwt)

// The build has each use of a shared variable go through this: a compiler that knows no more where an address comes from
// leaves out no check of it.
template <class T>
CUDA_INLINE T* cuda_hidden(T* place) {
  __asm__("" : "+r"(place));
  return place;
}

#include "cuda_math.h"
#include "cuda_half.h"
