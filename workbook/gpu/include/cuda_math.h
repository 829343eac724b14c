// CUDA C's mathematics for cuda_on_cpu.h: functions of float and double with C's names, C++'s overloads, intrinsics.
#pragma once

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

#define CUDA_MATH1(NAME)                                                          \
  CUDA_INLINE float NAME##f(float x) { return __builtin_##NAME##f(x); }           \
  CUDA_INLINE float NAME(float x) { return __builtin_##NAME##f(x); }              \
  CUDA_INLINE double NAME(double x) { return __builtin_##NAME(x); }               \
  CUDA_INLINE double NAME(int x) { return __builtin_##NAME(x); }
CUDA_MATH1(exp) CUDA_MATH1(exp2) CUDA_MATH1(exp10) CUDA_MATH1(expm1)
CUDA_MATH1(log) CUDA_MATH1(log2) CUDA_MATH1(log10) CUDA_MATH1(log1p)
CUDA_MATH1(sqrt) CUDA_MATH1(cbrt)
CUDA_MATH1(sin) CUDA_MATH1(cos) CUDA_MATH1(tan) CUDA_MATH1(asin) CUDA_MATH1(acos) CUDA_MATH1(atan)
CUDA_MATH1(sinh) CUDA_MATH1(cosh) CUDA_MATH1(tanh) CUDA_MATH1(asinh) CUDA_MATH1(acosh) CUDA_MATH1(atanh)
CUDA_MATH1(erf) CUDA_MATH1(erfc) CUDA_MATH1(tgamma) CUDA_MATH1(lgamma)
CUDA_MATH1(floor) CUDA_MATH1(ceil) CUDA_MATH1(trunc) CUDA_MATH1(round) CUDA_MATH1(rint) CUDA_MATH1(nearbyint)
CUDA_MATH1(fabs)

#define CUDA_MATH2(NAME)                                                                        \
  CUDA_INLINE float NAME##f(float x, float y) { return __builtin_##NAME##f(x, y); }             \
  CUDA_INLINE float NAME(float x, float y) { return __builtin_##NAME##f(x, y); }                \
  CUDA_INLINE double NAME(double x, double y) { return __builtin_##NAME(x, y); }
CUDA_MATH2(pow) CUDA_MATH2(fmod) CUDA_MATH2(fmax) CUDA_MATH2(fmin) CUDA_MATH2(atan2) CUDA_MATH2(hypot)
CUDA_MATH2(copysign) CUDA_MATH2(fdim) CUDA_MATH2(remainder)

CUDA_INLINE float fmaf(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
CUDA_INLINE float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
CUDA_INLINE double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
CUDA_INLINE float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
CUDA_INLINE float rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
CUDA_INLINE double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
CUDA_INLINE float ldexpf(float x, int n) { return __builtin_ldexpf(x, n); }
CUDA_INLINE double ldexp(double x, int n) { return __builtin_ldexp(x, n); }

#define CUDA_CLASSES(T)                                                          \
  CUDA_INLINE bool isnan(T x) { return __builtin_isnan(x); }                     \
  CUDA_INLINE bool isinf(T x) { return __builtin_isinf(x); }                     \
  CUDA_INLINE bool isfinite(T x) { return __builtin_isfinite(x); }               \
  CUDA_INLINE bool signbit(T x) { return __builtin_signbit(x); }                 \
  CUDA_INLINE T abs(T x) { return x < 0 ? -x : x == 0 ? 0 : x; }                 \
  CUDA_INLINE T max(T x, T y) { return __builtin_isnan(x) || x < y ? y : x; }    \
  CUDA_INLINE T min(T x, T y) { return __builtin_isnan(x) || y < x ? y : x; }
CUDA_CLASSES(float) CUDA_CLASSES(double)

#define CUDA_LIMITS(T)                                           \
  CUDA_INLINE T max(T x, T y) { return x < y ? y : x; }          \
  CUDA_INLINE T min(T x, T y) { return y < x ? y : x; }
CUDA_LIMITS(int) CUDA_LIMITS(unsigned) CUDA_LIMITS(long) CUDA_LIMITS(unsigned long) CUDA_LIMITS(long long) CUDA_LIMITS(unsigned long long)
#define CUDA_MIXED(A, B, T)                                                            \
  CUDA_INLINE T max(A x, B y) { return max((T)x, (T)y); }                              \
  CUDA_INLINE T max(B x, A y) { return max((T)x, (T)y); }                              \
  CUDA_INLINE T min(A x, B y) { return min((T)x, (T)y); }                              \
  CUDA_INLINE T min(B x, A y) { return min((T)x, (T)y); }
CUDA_MIXED(int, unsigned, unsigned) CUDA_MIXED(float, double, double)
CUDA_MIXED(long long, unsigned long long, unsigned long long) CUDA_MIXED(long, unsigned long, unsigned long)
CUDA_INLINE int abs(int x) { return x < 0 ? -x : x; }
CUDA_INLINE long long abs(long long x) { return x < 0 ? -x : x; }
CUDA_INLINE long long llabs(long long x) { return x < 0 ? -x : x; }

CUDA_INLINE float __expf(float x) { return __builtin_expf(x); }
CUDA_INLINE float __exp10f(float x) { return __builtin_exp10f(x); }
CUDA_INLINE float __logf(float x) { return __builtin_logf(x); }
CUDA_INLINE float __log2f(float x) { return __builtin_log2f(x); }
CUDA_INLINE float __log10f(float x) { return __builtin_log10f(x); }
CUDA_INLINE float __sinf(float x) { return __builtin_sinf(x); }
CUDA_INLINE float __cosf(float x) { return __builtin_cosf(x); }
CUDA_INLINE float __tanf(float x) { return __builtin_tanf(x); }
CUDA_INLINE float __powf(float x, float y) { return __builtin_powf(x, y); }
CUDA_INLINE float __fdividef(float x, float y) { return x / y; }
CUDA_INLINE float __fadd_rn(float x, float y) { return x + y; }
CUDA_INLINE float __fsub_rn(float x, float y) { return x - y; }
CUDA_INLINE float __fmul_rn(float x, float y) { return x * y; }
CUDA_INLINE float __fdiv_rn(float x, float y) { return x / y; }
CUDA_INLINE float __fmaf_rn(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
CUDA_INLINE float __frcp_rn(float x) { return 1.0f / x; }
CUDA_INLINE float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
CUDA_INLINE float __frsqrt_rn(float x) { return 1.0f / __builtin_sqrtf(x); }
CUDA_INLINE float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

template <class To, class From>
CUDA_INLINE To cuda_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "of one size");
  return __builtin_bit_cast(To, from);
}
CUDA_INLINE int __float_as_int(float x) { return cuda_bits<int>(x); }
CUDA_INLINE unsigned __float_as_uint(float x) { return cuda_bits<unsigned>(x); }
CUDA_INLINE float __int_as_float(int x) { return cuda_bits<float>(x); }
CUDA_INLINE float __uint_as_float(unsigned x) { return cuda_bits<float>(x); }
CUDA_INLINE long long __double_as_longlong(double x) { return cuda_bits<long long>(x); }
CUDA_INLINE double __longlong_as_double(long long x) { return cuda_bits<double>(x); }
CUDA_INLINE int __float2int_rn(float x) { return (int)__builtin_rintf(x); }
CUDA_INLINE int __float2int_rz(float x) { return (int)x; }
CUDA_INLINE int __float2int_rd(float x) { return (int)__builtin_floorf(x); }
CUDA_INLINE int __float2int_ru(float x) { return (int)__builtin_ceilf(x); }
CUDA_INLINE float __int2float_rn(int x) { return (float)x; }
CUDA_INLINE int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
CUDA_INLINE int __ffs(int x) { return __builtin_ffs(x); }
CUDA_INLINE int __popc(unsigned x) {
  x -= x >> 1 & 0x55555555u;
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  return (int)(((x + (x >> 4) & 0x0F0F0F0Fu) * 0x01010101u) >> 24);
}
CUDA_INLINE unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; i++) reversed |= (x >> i & 1u) << (31 - i);
  return reversed;
}
CUDA_INLINE int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
CUDA_INLINE unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
