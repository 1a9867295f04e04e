// The dragged trap and the isotropic sphere, fused by hand: the yardstick for the kernels that thermosim makes for cards.
//
// One thread is one replica, all in registers, two moves in a turn of the loop since a block of noise has the normals of
// two. The arithmetic is thermosim's, written out: Threefry-2x64-13 under the key (seed, 256 block + stream), counter
// (replica, index), Box-Muller with the polynomials of kernels/elementary.py, multiply-adds fused where `fma` says so
// and nowhere else (--fmad=false). So every replica has thermosim's bits.
//
// Compiled by NVRTC for a card (scripts/benchmarks/fused.py), or by g++ -ffp-contract=off, where a loop over replicas
// takes the place of threads: the numbers are checked on any machine.

#ifdef __CUDACC__
#define INLINE __device__ __forceinline__
#define KERNEL extern "C" __global__ void
#define FOR_LANES(lane, lanes) \
    if (const integer lane = static_cast<integer>(blockIdx.x) * blockDim.x + threadIdx.x; lane < lanes)
#else
#include <cmath>
#include <cstring>
#define INLINE inline
#define KERNEL extern "C" void
#define FOR_LANES(lane, lanes) for (integer lane = 0; lane < lanes; lane++)
using std::fma;
using std::sqrt;
#endif

using word = unsigned long long;
using integer = long long;
constexpr word x_noise = 1, theta_noise = 2;  // streams
constexpr word one = 0x3FF0000000000000ull;
constexpr int dimension = 3;  // of the sphere

#ifdef __CUDACC__
INLINE double float_of(word bits) { return __longlong_as_double(static_cast<integer>(bits)); }
INLINE word bits_of(double value) { return static_cast<word>(__double_as_longlong(value)); }
#else
INLINE double float_of(word bits) { double value; std::memcpy(&value, &bits, 8); return value; }
INLINE word bits_of(double value) { word bits; std::memcpy(&bits, &value, 8); return bits; }
#endif

INLINE void mix(word& a, word& b, int rotation) {
    a += b;
    b = ((b << rotation) | (b >> (64 - rotation))) ^ a;
}

// J. K. Salmon et al., SC'11: Threefry-2x64 with 13 rounds.
INLINE void threefry(word key0, word key1, word& a, word& b) {
    const word key2 = 0x1BD11BDAA9FC1A22ull ^ key0 ^ key1;
    a += key0; b += key1;
    mix(a, b, 16); mix(a, b, 42); mix(a, b, 12); mix(a, b, 31);
    a += key1; b += key2 + 1;
    mix(a, b, 16); mix(a, b, 32); mix(a, b, 24); mix(a, b, 21);
    a += key2; b += key0 + 2;
    mix(a, b, 16); mix(a, b, 42); mix(a, b, 12); mix(a, b, 31);
    a += key0; b += key1 + 3;
    mix(a, b, 16);
}

// Natural logarithm of a positive normal number.
INLINE double logarithm(double x) {
    const word sqrt_half = 0x3FE6A09E667F3BCDull;
    const word offset = bits_of(x) - sqrt_half + one;
    const double exponent = float_of((offset >> 52) | 0x4330000000000000ull) - 4503599627371519.0;
    const double m = float_of((offset & 0x000FFFFFFFFFFFFFull) + sqrt_half);
    const double f = m - 1.0, s = f / (m + 1.0), t = s * s;
    double p = fma(t, 0.07308224842521703, 0.07665860800278021);
    p = fma(t, p, 0.09091444562630861);
    p = fma(t, p, 0.1111110556739754);
    p = fma(t, p, 0.14285714312987743);
    p = fma(t, p, 0.19999999999949752);
    p = fma(t, p, 0.3333333333333335);
    const double tail = fma(2.0 * s * t, p, fma(exponent, 2.3190468138462995584e-17, -s * f));
    return fma(exponent, 0.6931471805599452862, f + tail);
}

// Cosine and sine of r quarter turns, |r| <= 1/2.
INLINE void cos_sin_quarter(double r, double& cosine, double& sine) {
    const double t = r * r;
    double s = fma(t, 5.633933781537854e-08, -3.59864335298231e-06);
    s = fma(t, s, 0.0001604411507421909);
    s = fma(t, s, -0.004681754132340976);
    s = fma(t, s, 0.07969262624604301);
    s = fma(t, s, -0.6459640975062443);
    sine = r * fma(t, s, 1.5707963267948966);
    double c = fma(t, 4.6552961874867623e-07, -2.520013526428479e-05);
    c = fma(t, c, 0.000919259950041661);
    c = fma(t, c, -0.02086348073494657);
    c = fma(t, c, 0.25366950789986475);
    c = fma(t, c, -1.2337005501361513);
    cosine = fma(t, c, 1.0);
}

// The normals of moves 2 block and 2 block + 1.
INLINE void normal_pair(word seed, word stream, word block, word replica, word index, double& even, double& odd) {
    word a = replica, b = index;
    threefry(seed, block << 8 | stream, a, b);
    const double radius = sqrt(-2.0 * logarithm(2.0 - float_of(a >> 12 | one)));
    double cosine, sine;
    cos_sin_quarter(float_of(b >> 12 | one) - 1.5, cosine, sine);
    cosine = float_of(bits_of(cosine) ^ b << 63);
    even = radius * (b & 2 ? sine : cosine);
    odd = radius * (b & 2 ? cosine : sine);
}

struct Particle { double x, phi, work, heat, log_ratio; };
struct Langevin { double h, amplitude, kick; };  // h, sqrt(2 h T), sqrt(h/(2 T))

// The center has jumped, which is work; x makes one Euler-Maruyama move, which is heat.
INLINE void trap_step(Particle& p, double center, double k, const Langevin& move, double normal) {
    const double away = p.x - center, pull = k * away, jumped = 0.5 * (away * pull);
    p.work += jumped - p.phi;
    p.x = fma(move.amplitude, normal, fma(move.h, -pull, p.x));
    const double away_new = p.x - center, pull_new = k * away_new;
    p.phi = 0.5 * (away_new * pull_new);
    p.heat += p.phi - jumped;
    const double v = move.kick * (-pull - pull_new);
    p.log_ratio = fma(v, fma(0.5, v, normal), p.log_ratio);
}

// phi = k (x - c)^2/2. center: steps + 1 values, steps even; x starts at 0. One value per replica comes back.
KERNEL drag(integer replicas, integer first_replica, integer steps, word seed, double h, double temperature, double k,
            const double* center, double* x, double* work, double* heat, double* log_ratio) {
    FOR_LANES(lane, replicas) {
        const Langevin move{h, sqrt(2.0 * h * temperature), sqrt(0.5 * h / temperature)};
        const double from = 0.0 - center[0];
        Particle p{0.0, 0.5 * (from * (k * from)), 0.0, 0.0, 0.0};
        for (integer s = 0; s < steps; s += 2) {
            double even, odd;
            normal_pair(seed, x_noise, s >> 1, first_replica + lane, 0, even, odd);
            trap_step(p, center[s + 1], k, move, even);
            trap_step(p, center[s + 2], k, move, odd);
        }
        x[lane] = p.x; work[lane] = p.work; heat[lane] = p.heat; log_ratio[lane] = p.log_ratio;
    }
}

// One step of SGD at fixed effective learning rate: w' = (1 - eta |w|^2 lambda) w - eta |w|^2 g.
INLINE void sphere_step(double* w, const double* mu, double noise, double rate, double decay, const double* xi) {
    const double square = fma(w[0], w[0], fma(w[1], w[1], w[2] * w[2]));
    const double slope = fma(mu[0], w[0], fma(mu[1], w[1], mu[2] * w[2]));
    const double radial = fma(xi[0], w[0], fma(xi[1], w[1], xi[2] * w[2]));
    const double inverse = 1.0 / sqrt(square), across = fma(noise, radial, slope) * inverse * inverse * inverse;
    const double along = noise * inverse, stride = rate * square, shrink = fma(-stride, decay, 1.0);
    for (int i = 0; i < dimension; i++) {
        const double g = fma(along, xi[i], fma(inverse, mu[i], -across * w[i]));
        w[i] = fma(-stride, g, shrink * w[i]);
    }
}

// w (3, replicas) goes from step 0 to step `steps`, in place; mu (3,) is the direction of the loss.
KERNEL roll(integer replicas, integer first_replica, integer steps, word seed, double noise, double rate, double decay,
            const double* direction, double* w) {
    FOR_LANES(lane, replicas) {
        double own[dimension], mu[dimension], even[dimension], odd[dimension];
        for (int i = 0; i < dimension; i++) { own[i] = w[i * replicas + lane]; mu[i] = direction[i]; }
        for (integer block = 0; block <= steps >> 1; block++) {
            for (int i = 0; i < dimension; i++)
                normal_pair(seed, theta_noise, block, first_replica + lane, i, even[i], odd[i]);
            if (block > 0) sphere_step(own, mu, noise, rate, decay, even);  // step 2 block; the first step is 1
            if (2 * block < steps) sphere_step(own, mu, noise, rate, decay, odd);
        }
        for (int i = 0; i < dimension; i++) w[i * replicas + lane] = own[i];
    }
}
