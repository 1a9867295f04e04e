// The dragged trap of scripts/bench.py in C++: the yardstick for the compiled kernels of thermosim.
//
// Same algorithm, same noise addresses (Threefry-2x64-13 under the key (seed, 256 block + 1), counter (replica, 0); one
// Box-Muller pair serves two consecutive steps), same ledger, so every replica's work agrees with thermosim's to
// rounding. One replica per vector lane, tiles of 512 replicas, OpenMP threads over tiles.
//
// phi = k (x - c)^2/2; in each step the center jumps (work), then x makes one Euler-Maruyama move (heat, and the log
// ratio of its transition densities).

#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

using word = std::uint64_t;
constexpr int lanes = 512;
constexpr word x_noise = 1;  // the stream

inline double float_of(word bits) { double value; std::memcpy(&value, &bits, 8); return value; }
inline word bits_of(double value) { word bits; std::memcpy(&bits, &value, 8); return bits; }

inline void mix(word& a, word& b, int rotation) {
    a += b;
    b = ((b << rotation) | (b >> (64 - rotation))) ^ a;
}

// J. K. Salmon et al., SC'11: Threefry-2x64 with 13 rounds.
inline void threefry(word key0, word key1, word& a, word& b) {
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

// Natural logarithm for positive normal numbers: exponent and mantissa taken apart, then the series of atanh.
inline double logarithm(double value) {
    const word sqrt_half = 0x3FE6A09E667F3BCDull, one = 0x3FF0000000000000ull;
    const word shifted = bits_of(value) - sqrt_half + one;
    const double exponent = float_of((shifted >> 52) | 0x4330000000000000ull) - 4503599627371519.0;
    const double f = float_of((shifted & 0x000FFFFFFFFFFFFFull) + sqrt_half) - 1.0;
    const double s = f / (f + 2.0), t = s * s;
    double p = t * 0.07308224842521703 + 0.07665860800278021;
    p = t * p + 0.09091444562630861;
    p = t * p + 0.1111110556739754;
    p = t * p + 0.14285714312987743;
    p = t * p + 0.19999999999949752;
    p = t * p + 0.3333333333333335;
    return exponent * 0.6931471805599453 + (f + (2.0 * s * t * p - s * f));
}

// Cosine and sine of r quarter turns, |r| <= 1/2.
inline void cos_sin_quarter(double r, double& cosine, double& sine) {
    const double t = r * r;
    double s = t * 5.633933781537854e-08 - 3.59864335298231e-06;
    s = t * s + 0.0001604411507421909;
    s = t * s - 0.004681754132340976;
    s = t * s + 0.07969262624604301;
    s = t * s - 0.6459640975062443;
    s = r * (t * s + 1.5707963267948966);
    double c = t * 4.6552961874867623e-07 - 2.520013526428479e-05;
    c = t * c + 0.000919259950041661;
    c = t * c - 0.02086348073494657;
    c = t * c + 0.25366950789986475;
    c = t * c - 1.2337005501361513;
    c = t * c + 1.0;
    cosine = c;
    sine = s;
}

struct State { double x, work, heat, log_ratio; };

// One step of one replica: the center jumps from `before` to `after`, then x moves.
inline void step(State& state, double before, double after, double k, double h, double noise) {
    const double start = state.x - after, force = -k * start;
    const double old = 0.5 * k * (state.x - before) * (state.x - before), jumped = 0.5 * k * start * start;
    const double moved = state.x + h * force + noise;
    const double end = moved - after, force_new = -k * end, reached = 0.5 * k * end * end;
    state.work += jumped - old;
    state.heat += reached - jumped;
    state.log_ratio += 0.5 * (force + force_new) * (moved - state.x + 0.5 * h * (force_new - force));
    state.x = moved;
}

}  // namespace

// center: steps + 1 values; replicas a multiple of 512, steps even. x starts at 0. Outputs: one value per replica.
extern "C" void drag(std::int64_t replicas, std::int64_t steps, int threads, word seed, double time_step, double k,
                     const double* center, double* x, double* work, double* heat, double* log_ratio) {
    const double amplitude = std::sqrt(2.0 * time_step);
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t first = 0; first < replicas; first += lanes) {
        double *xs = x + first, *works = work + first, *heats = heat + first, *ratios = log_ratio + first;
        for (int lane = 0; lane < lanes; lane++) xs[lane] = works[lane] = heats[lane] = ratios[lane] = 0.0;
        for (std::int64_t s = 0; s < steps; s += 2) {
            const double c0 = center[s], c1 = center[s + 1], c2 = center[s + 2];
            const word key = (static_cast<word>(s >> 1) << 8) | x_noise;
            #pragma omp simd
            for (int lane = 0; lane < lanes; lane++) {
                word a = first + lane, b = 0;
                threefry(seed, key, a, b);
                const double uniform = 2.0 - float_of((a >> 12) | 0x3FF0000000000000ull);
                const double length = amplitude * std::sqrt(-2.0 * logarithm(uniform));
                double cosine, sine;
                cos_sin_quarter(float_of((b >> 12) | 0x3FF0000000000000ull) - 1.5, cosine, sine);
                cosine = float_of(bits_of(cosine) ^ (b << 63));
                const double even = b & 2 ? sine : cosine, odd = b & 2 ? cosine : sine;
                State state{xs[lane], works[lane], heats[lane], ratios[lane]};
                step(state, c0, c1, k, time_step, length * even);
                step(state, c1, c2, k, time_step, length * odd);
                xs[lane] = state.x; works[lane] = state.work; heats[lane] = state.heat; ratios[lane] = state.log_ratio;
            }
        }
    }
}
