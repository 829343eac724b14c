// CUDA C's half precision for cuda_on_cpu.h: as much of cuda_fp16.h and cuda_bf16.h as kernels use that are read here.
// An operation is computed in float and rounded once, which is what it gives on a GPU as well.
#pragma once

struct __half { unsigned short bits; };
struct __nv_bfloat16 { unsigned short bits; };
typedef __half half;
typedef __nv_bfloat16 nv_bfloat16;

CUDA_INLINE __half __float2half(float x) { return {cuda_float_to_half(x)}; }
CUDA_INLINE __half __float2half_rn(float x) { return {cuda_float_to_half(x)}; }
CUDA_INLINE float __half2float(__half x) { return cuda_half_to_float(x.bits); }
CUDA_INLINE __nv_bfloat16 __float2bfloat16(float x) { return {cuda_float_to_bfloat16(x)}; }
CUDA_INLINE __nv_bfloat16 __float2bfloat16_rn(float x) { return {cuda_float_to_bfloat16(x)}; }
CUDA_INLINE float __bfloat162float(__nv_bfloat16 x) { return cuda_bits<float>((unsigned)x.bits << 16); }

#define CUDA_HALF(T, TO, FROM, T2, FLOAT22, TO2, MAKE)                                                               \
  CUDA_INLINE T operator+(T x, T y) { return TO(FROM(x) + FROM(y)); }                                                \
  CUDA_INLINE T operator-(T x, T y) { return TO(FROM(x) - FROM(y)); }                                                \
  CUDA_INLINE T operator*(T x, T y) { return TO(FROM(x) * FROM(y)); }                                                \
  CUDA_INLINE T operator/(T x, T y) { return TO(FROM(x) / FROM(y)); }                                                \
  CUDA_INLINE T operator-(T x) { return TO(-FROM(x)); }                                                              \
  CUDA_INLINE T& operator+=(T& x, T y) { return x = x + y; }                                                         \
  CUDA_INLINE T& operator-=(T& x, T y) { return x = x - y; }                                                         \
  CUDA_INLINE T& operator*=(T& x, T y) { return x = x * y; }                                                         \
  CUDA_INLINE bool operator<(T x, T y) { return FROM(x) < FROM(y); }                                                 \
  CUDA_INLINE bool operator>(T x, T y) { return FROM(x) > FROM(y); }                                                 \
  CUDA_INLINE bool operator<=(T x, T y) { return FROM(x) <= FROM(y); }                                               \
  CUDA_INLINE bool operator>=(T x, T y) { return FROM(x) >= FROM(y); }                                               \
  CUDA_INLINE bool operator==(T x, T y) { return FROM(x) == FROM(y); }                                               \
  CUDA_INLINE bool operator!=(T x, T y) { return FROM(x) != FROM(y); }                                               \
  CUDA_INLINE T __hadd(T x, T y) { return x + y; }                                                                   \
  CUDA_INLINE T __hsub(T x, T y) { return x - y; }                                                                   \
  CUDA_INLINE T __hmul(T x, T y) { return x * y; }                                                                   \
  CUDA_INLINE T __hdiv(T x, T y) { return x / y; }                                                                   \
  CUDA_INLINE T __hmax(T x, T y) { return TO(fmaxf(FROM(x), FROM(y))); }                                             \
  CUDA_INLINE T __hmin(T x, T y) { return TO(fminf(FROM(x), FROM(y))); }                                             \
  struct __align__(4) T2 { T x, y; };                                                                                \
  CUDA_INLINE T2 MAKE(T x, T y) { return {x, y}; }                                                                   \
  CUDA_INLINE float2 FLOAT22(T2 v) { return {FROM(v.x), FROM(v.y)}; }                                                \
  CUDA_INLINE T2 TO2(float2 v) { return {TO(v.x), TO(v.y)}; }                                                        \
  CUDA_INLINE T2 __hadd2(T2 x, T2 y) { return {x.x + y.x, x.y + y.y}; }                                              \
  CUDA_INLINE T2 __hmul2(T2 x, T2 y) { return {x.x * y.x, x.y * y.y}; }
CUDA_HALF(__half, __float2half, __half2float, __half2, __half22float2, __float22half2_rn, __halves2half2)
CUDA_HALF(__nv_bfloat16, __float2bfloat16, __bfloat162float, __nv_bfloat162, __bfloat1622float2, __float22bfloat162_rn,
          __halves2bfloat162)
typedef __half2 half2;
typedef __nv_bfloat162 nv_bfloat162;
CUDA_INLINE __half2 __floats2half2_rn(float x, float y) { return {__float2half(x), __float2half(y)}; }
CUDA_INLINE __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {__float2bfloat16(x), __float2bfloat16(y)}; }
CUDA_INLINE float __low2float(__half2 v) { return __half2float(v.x); }
CUDA_INLINE float __high2float(__half2 v) { return __half2float(v.y); }
