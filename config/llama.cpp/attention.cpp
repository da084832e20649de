/* Attention on the CPU, for keys and values in 16 bits, in place of ggml's.
 *
 * ggml computes fewer than 64 rows cell by cell and head by head, in half precision, and changes kernel with the number
 * of rows, so an answer behind long sources is slow, and depends on how many others are in its batch. Here all heads
 * that share keys are computed together, in tiles of cells, in single precision:
 *
 *     group = tokens side by side, each of which sees the first cells that the last one sees
 *     unit  = a group x a head of keys x CHUNK of the cells it sees -> maximum, sum and weighted values of each row
 *     row   = a token and a head of queries: its units, merged in the order of the cells -> weighted values / sum
 *
 * Cells are counted as they are seen, so what a row gives depends on the cells that it sees, in their order, alone:
 * not on where they lie, on other rows, or on the number of threads. After "Self-attention Does Not Need O(n^2) Memory"
 * (arXiv 2112.05682), with the parts of "Flash-Decoding" (Dao et al., 2023). What is not covered (see `is_covered`) is
 * left to ggml.
 */
#include "ggml-cpu-impl.h"
#include "ggml-cpu.h"
#include "ops.h"
#include "simd-gemm.h"
#include "vec.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int ROWS = 64, TILE = 64, CHUNK = 512, MAX_HEAD = 256;
/* CHUNK: enough units for all threads where one row sees a thousand cells, and not too many parts of long slices. */
constexpr uint16_t UNSEEN = 0xFC00;  // -inf in F16

struct Shape {
    int64_t head, tokens, cells, key_heads, sharing;  // sharing: heads of queries for one of keys
    int64_t width;  // of a head in our memory: a multiple of 16, the rest is 0
    float scale;

    explicit Shape(const ggml_tensor * dst) {
        const ggml_tensor * q = dst->src[0], * k = dst->src[1];
        head = q->ne[0], tokens = q->ne[1], cells = k->ne[1], key_heads = k->ne[2], sharing = q->ne[2] / k->ne[2];
        width = (head + 15) / 16 * 16;
        memcpy(&scale, dst->op_params, sizeof(scale));
    }
    int64_t part() const { return head + 2; }  // maximum, sum, weighted values
};

struct Range {
    int32_t begin, end;
    bool operator==(const Range & other) const { return begin == other.begin && end == other.end; }
};

typedef std::vector<Range> Seen;  // the cells that a token sees, in order

struct Group {
    int64_t first_token, num_tokens, num_chunks, first_unit, first_part;
};

/* Made by the first thread, for all of them. */
struct Work {
    std::vector<Seen> seen;  // of each token
    std::vector<Group> groups;
    std::vector<float> parts;  // (groups, heads of keys, rows, chunks, part)
    int64_t num_units;
};

bool is_half(const ggml_tensor * tensor) {
    return (tensor->type == GGML_TYPE_F16 || tensor->type == GGML_TYPE_BF16) &&
           tensor->nb[0] == ggml_type_size(tensor->type);
}

bool is_covered(const ggml_tensor * dst) {
    const ggml_tensor * q = dst->src[0], * k = dst->src[1], * v = dst->src[2], * mask = dst->src[3];
    float max_bias, softcap;
    memcpy(&max_bias, (const float *) dst->op_params + 1, sizeof(max_bias));
    memcpy(&softcap, (const float *) dst->op_params + 2, sizeof(softcap));
    return mask && !dst->src[4] && max_bias == 0.0f && softcap == 0.0f && is_half(k) && is_half(v) &&
           q->type == GGML_TYPE_F32 && q->nb[0] == sizeof(float) && mask->type == GGML_TYPE_F16 &&
           mask->nb[0] == sizeof(ggml_fp16_t) && mask->ne[2] == 1 && mask->ne[3] == 1 && q->ne[3] == 1 &&
           k->ne[3] == 1 && v->ne[3] == 1 && q->ne[0] <= MAX_HEAD && v->ne[0] == q->ne[0] &&
           v->ne[2] == k->ne[2] && q->ne[2] % k->ne[2] == 0 && q->ne[2] / k->ne[2] <= ROWS;
}

const char * at(const ggml_tensor * tensor, int64_t i1, int64_t i2) {
    return (const char *) tensor->data + i1 * tensor->nb[1] + i2 * tensor->nb[2];
}

void widen(ggml_type type, const char * from, float * to, int64_t num) {
    if (type == GGML_TYPE_F16) {
        ggml_cpu_fp16_to_fp32((const ggml_fp16_t *) from, to, num);
    } else {
        ggml_cpu_bf16_to_fp32((const ggml_bf16_t *) from, to, num);
    }
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define HAS_LANES
#endif
#endif

/* 8 rows of 8 into columns; strides in floats. */
inline void transpose8(const float * from, int64_t from_stride, float * to, int64_t to_stride) {
#ifdef HAS_LANES
    typedef float Lanes __attribute__((vector_size(32)));
    Lanes a[8], b[8];
    for (int i = 0; i < 8; i++) memcpy(&a[i], from + i * from_stride, sizeof(Lanes));
    for (int i = 0; i < 8; i += 2) {
        b[i] = __builtin_shufflevector(a[i], a[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        b[i + 1] = __builtin_shufflevector(a[i], a[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = __builtin_shufflevector(b[i + j], b[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            a[i + 2 * j + 1] = __builtin_shufflevector(b[i + j], b[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    }
    for (int i = 0; i < 4; i++) {
        b[i] = __builtin_shufflevector(a[i], a[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        b[i + 4] = __builtin_shufflevector(a[i], a[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
    for (int i = 0; i < 8; i++) memcpy(to + i * to_stride, &b[i], sizeof(Lanes));
#else
    for (int i = 0; i < 8; i++) for (int j = 0; j < 8; j++) to[j * to_stride + i] = from[i * from_stride + j];
#endif
}

#if defined(GGML_SIMD) && !defined(__ARM_FEATURE_SVE) && !defined(__riscv_v_intrinsic)  // as in simd-gemm.h
#define HAS_BLOCKS
/* Rows of one register block; columns in the widest blocks that leave it in registers. */
template <int NUM_ROWS, int WIDTH>
void multiply_rows(const float * a, const float * b, float * c, int depth, int columns) {
    int begin = 0;
    for (; begin + WIDTH * GGML_F32_EPR <= columns; begin += WIDTH * GGML_F32_EPR) {
        simd_gemm_ukernel<NUM_ROWS, WIDTH>(c + begin, a, b + begin, depth, columns);
    }
    for (; begin < columns; begin += GGML_F32_EPR) {
        simd_gemm_ukernel<NUM_ROWS, 1>(c + begin, a, b + begin, depth, columns);
    }
}
#endif

/* c (rows, columns) += a (rows, depth) b (depth, columns), each sum in the order of depth; columns: multiples of 16.
 * Unlike simd_gemm, few rows are computed together too. */
void multiply(const float * a, const float * b, float * c, int rows, int depth, int columns) {
#ifdef HAS_BLOCKS
    for (; rows >= GEMM_RM; rows -= GEMM_RM, a += GEMM_RM * depth, c += GEMM_RM * columns) {
        multiply_rows<GEMM_RM, GEMM_RN>(a, b, c, depth, columns);
    }
    switch (rows) {
        case 5: return multiply_rows<5, 2>(a, b, c, depth, columns);
        case 4: return multiply_rows<4, 2>(a, b, c, depth, columns);
        case 3: return multiply_rows<3, 2>(a, b, c, depth, columns);
        case 2: return multiply_rows<2, 4>(a, b, c, depth, columns);
        case 1: return multiply_rows<1, 4>(a, b, c, depth, columns);
    }
#else
    simd_gemm(c, a, b, rows, depth, columns);
#endif
}

void look(const ggml_fp16_t * mask, int64_t num_cells, Seen & seen) {
    seen.clear();
    for (int64_t cell = 0; cell < num_cells;) {
        uint64_t four;
        if (cell % 4 == 0 && cell + 4 <= num_cells) {
            memcpy(&four, mask + cell, sizeof(four));
            if (four == UNSEEN * 0x0001000100010001u) {
                cell += 4;
                continue;
            }
        }
        if (mask[cell] != UNSEEN) {
            if (seen.empty() || seen.back().end != cell) seen.push_back({(int32_t) cell, (int32_t) cell});
            seen.back().end = (int32_t) cell + 1;
        }
        cell++;
    }
}

/* Is `shorter` the beginning of `longer`? */
bool is_beginning(const Seen & shorter, const Seen & longer) {
    if (shorter.empty()) return true;
    const size_t last = shorter.size() - 1;
    return shorter.size() <= longer.size() && std::equal(shorter.begin(), shorter.end() - 1, longer.begin()) &&
           shorter[last].begin == longer[last].begin && shorter[last].end <= longer[last].end;
}

int64_t count(const Seen & seen) {
    int64_t num = 0;
    for (const Range & range : seen) num += range.end - range.begin;
    return num;
}

void form_groups(const Shape & shape, Work & work) {
    const int64_t most = ROWS / shape.sharing;
    int64_t num_parts = 0;
    work.groups.clear();
    work.num_units = 0;
    for (int64_t token = 0; token < shape.tokens;) {
        int64_t next = token + 1;
        while (next < shape.tokens && next - token < most && is_beginning(work.seen[next - 1], work.seen[next])) next++;
        const int64_t num_chunks = (count(work.seen[next - 1]) + CHUNK - 1) / CHUNK;
        work.groups.push_back({token, next - token, num_chunks, work.num_units, num_parts});
        work.num_units += shape.key_heads * num_chunks;
        num_parts += shape.key_heads * (next - token) * shape.sharing * num_chunks;
        token = next;
    }
    if ((int64_t) work.parts.size() < num_parts * shape.part()) work.parts.resize(num_parts * shape.part());
}

struct Scratch {
    alignas(64) float queries[ROWS * MAX_HEAD], weighted[ROWS * MAX_HEAD];  // a row's values, so far
    alignas(64) float keys[MAX_HEAD * TILE], values[TILE * MAX_HEAD], block[8 * MAX_HEAD];
    alignas(64) float scores[ROWS * TILE], mask[ROWS * TILE];
    float maximum[ROWS], sum[ROWS];
    int32_t cells[TILE];
};

/* One cell's; a missing one is 0. */
void pack_cell(const ggml_tensor * tensor, int64_t key_head, int64_t i, int64_t num, const Shape & shape, Scratch & s,
               float * to) {
    const int64_t head = i < num ? shape.head : 0;
    if (head) widen(tensor->type, at(tensor, s.cells[i], key_head), to, head);
    if (head < shape.width) memset(to + head, 0, (shape.width - head) * sizeof(float));
}

/* keys: (width, TILE), so that the cells of a tile lie side by side. */
void pack_keys(const ggml_tensor * k, int64_t key_head, int64_t num, const Shape & shape, Scratch & s) {
    const int64_t width = shape.width;
    for (int64_t begin = 0; begin < TILE; begin += 8) {
        for (int64_t i = begin; i < begin + 8; i++) {
            pack_cell(k, key_head, i, num, shape, s, s.block + (i - begin) * width);
        }
        for (int64_t d = 0; d < width; d += 8) transpose8(s.block + d, width, s.keys + d * TILE + begin, TILE);
    }
}

void pack_values(const ggml_tensor * v, int64_t key_head, int64_t num, const Shape & shape, Scratch & s) {
    for (int64_t i = 0; i < TILE; i++) pack_cell(v, key_head, i, num, shape, s, s.values + i * shape.width);
}

/* Of one token, for the cells of a tile. Returns whether it sees one of them. */
bool pack_mask(const ggml_fp16_t * mask, int64_t num, const int32_t * cells, float * to) {
    if (cells[num - 1] - cells[0] == num - 1) {
        ggml_cpu_fp16_to_fp32(mask + cells[0], to, num);
    } else {
        for (int64_t i = 0; i < num; i++) to[i] = GGML_CPU_FP16_TO_FP32(mask[cells[i]]);
    }
    std::fill(to + num, to + TILE, -INFINITY);
    float highest;
    ggml_vec_max_f32(TILE, &highest, to);
    return highest > -INFINITY;
}

/* Tokens begin..end of a group go on over a tile of cells. */
void attend(const Shape & shape, int64_t begin, int64_t end, Scratch & s) {
    const int64_t width = shape.width, first = begin * shape.sharing, num = (end - begin) * shape.sharing;
    float * scores = s.scores + first * TILE;
    memset(scores, 0, num * TILE * sizeof(float));
    multiply(s.queries + first * width, s.keys, scores, (int) num, (int) width, TILE);
    for (int64_t row = first; row < first + num; row++) {
        float * own = s.scores + row * TILE;
        ggml_vec_add_f32(TILE, own, own, s.mask + row / shape.sharing * TILE);
        float highest;
        ggml_vec_max_f32(TILE, &highest, own);
        if (highest > s.maximum[row]) {
            const float shrink = expf(s.maximum[row] - highest);
            ggml_vec_scale_f32((int) width, s.weighted + row * width, shrink);
            s.sum[row] *= shrink;
            s.maximum[row] = highest;
        }
        s.sum[row] += (float) ggml_vec_soft_max_f32(TILE, own, own, s.maximum[row]);
    }
    multiply(scores, s.values, s.weighted + first * width, (int) num, TILE, (int) width);
}

void compute_unit(const ggml_tensor * dst, const Shape & shape, int64_t unit, Work & work, Scratch & s) {
    const ggml_tensor * q = dst->src[0], * k = dst->src[1], * v = dst->src[2], * mask = dst->src[3];
    const auto is_before = [](int64_t place, const Group & group) { return place < group.first_unit; };
    const Group & group = *(std::upper_bound(work.groups.begin(), work.groups.end(), unit, is_before) - 1);
    const int64_t key_head = (unit - group.first_unit) % shape.key_heads;
    const int64_t chunk = (unit - group.first_unit) / shape.key_heads;
    const int64_t width = shape.width, num_rows = group.num_tokens * shape.sharing;

    for (int64_t row = 0; row < num_rows; row++) {
        const int64_t token = group.first_token + row / shape.sharing, part = row % shape.sharing;
        float * own = s.queries + row * width;
        memcpy(own, at(q, token, key_head * shape.sharing + part), shape.head * sizeof(float));
        std::fill(own + shape.head, own + width, 0.0f);
        s.maximum[row] = -INFINITY, s.sum[row] = 0.0f;
    }
    ggml_vec_scale_f32((int) (num_rows * width), s.queries, shape.scale);
    memset(s.weighted, 0, num_rows * width * sizeof(float));

    int64_t passed = 0;  // of the cells that are seen
    int num = 0;
    const auto attend_tile = [&] {
        bool sees[ROWS];
        for (int64_t token = 0; token < group.num_tokens; token++) {
            const ggml_fp16_t * own = (const ggml_fp16_t *) at(mask, group.first_token + token, 0);
            sees[token] = pack_mask(own, num, s.cells, s.mask + token * TILE);
        }
        pack_keys(k, key_head, num, shape, s);
        pack_values(v, key_head, num, shape, s);
        int64_t begin = 0;  // later tokens see more
        while (begin < group.num_tokens && !sees[begin]) begin++;
        attend(shape, begin, group.num_tokens, s);
        num = 0;
    };
    for (const Range & range : work.seen[group.first_token + group.num_tokens - 1]) {
        const int64_t length = range.end - range.begin;
        const int64_t begin = std::max<int64_t>(0, chunk * CHUNK - passed);
        const int64_t end = std::min<int64_t>(length, (chunk + 1) * CHUNK - passed);
        for (int64_t i = begin; i < end; i++) {
            s.cells[num++] = (int32_t) (range.begin + i);
            if (num == TILE) attend_tile();
        }
        passed += length;
    }
    if (num) attend_tile();

    for (int64_t row = 0; row < num_rows; row++) {
        const int64_t place = group.first_part + (key_head * num_rows + row) * group.num_chunks + chunk;
        float * part = work.parts.data() + place * shape.part();
        part[0] = s.maximum[row], part[1] = s.sum[row];
        memcpy(part + 2, s.weighted + row * width, shape.head * sizeof(float));
    }
}

/* dst: (head, heads, tokens) */
void merge(ggml_tensor * dst, const Shape & shape, const Group & group, int64_t key_head, int64_t row, Work & work) {
    const int64_t num_rows = group.num_tokens * shape.sharing, token = group.first_token + row / shape.sharing;
    const int64_t query_head = key_head * shape.sharing + row % shape.sharing;
    float * out = (float *) ((char *) dst->data + query_head * dst->nb[1] + token * dst->nb[2]);
    const int64_t place = group.first_part + (key_head * num_rows + row) * group.num_chunks;
    const float * own = work.parts.data() + place * shape.part();
    float highest = -INFINITY, sum = 0.0f;
    memset(out, 0, shape.head * sizeof(float));
    for (int64_t chunk = 0; chunk < group.num_chunks; chunk++) highest = std::max(highest, own[chunk * shape.part()]);
    for (int64_t chunk = 0; chunk < group.num_chunks; chunk++) {
        const float * part = own + chunk * shape.part();
        if (part[1] != 0.0f) {
            const float share = expf(part[0] - highest);
            ggml_vec_mad_f32((int) shape.head, out, part + 2, share);
            sum += share * part[1];
        }
    }
    if (sum != 0.0f) ggml_vec_scale_f32((int) shape.head, out, 1.0f / sum);
}

}  // namespace

#define NAME_OF(id) housevoice_kernels_##id
#define NAME(id) NAME_OF(id)

/* So that a library that was compiled from other files can be told by its symbols; the id is of all files in here. */
extern "C" const int NAME(HOUSEVOICE_ENGINE_ID);
extern "C" const int NAME(HOUSEVOICE_ENGINE_ID) = 1;

extern "C" void housevoice_flash_attn_ext(const ggml_compute_params * params, ggml_tensor * dst);

extern "C" void housevoice_flash_attn_ext(const ggml_compute_params * params, ggml_tensor * dst) {
    if (params->use_ref || !is_covered(dst)) {
        ggml_compute_forward_flash_attn_ext(params, dst);
        return;
    }
    const Shape shape(dst);
    static thread_local Work own_work;
    static thread_local std::vector<Scratch> scratch(1);
    Work ** shared = (Work **) params->wdata;
    if (params->ith == 0) {
        if ((int64_t) own_work.seen.size() < shape.tokens) own_work.seen.resize(shape.tokens);
        *shared = &own_work;
    }
    ggml_barrier(params->threadpool);
    Work & work = **shared;
    for (int64_t token = params->ith; token < shape.tokens; token += params->nth) {
        look((const ggml_fp16_t *) at(dst->src[3], token, 0), shape.cells, work.seen[token]);
    }
    ggml_barrier(params->threadpool);
    if (params->ith == 0) {
        form_groups(shape, work);
        ggml_threadpool_chunk_set(params->threadpool, 0);
    }
    ggml_barrier(params->threadpool);
    for (int64_t unit; (unit = ggml_threadpool_chunk_add(params->threadpool, 1)) < work.num_units;) {
        compute_unit(dst, shape, unit, work, scratch[0]);
    }
    ggml_barrier(params->threadpool);
    int64_t turn = 0;
    for (const Group & group : work.groups) {
        for (int64_t row = 0; row < shape.key_heads * group.num_tokens * shape.sharing; row++) {
            if (turn++ % params->nth == params->ith) {
                const int64_t num_rows = group.num_tokens * shape.sharing;
                merge(dst, shape, group, row / num_rows, row % num_rows, work);
            }
        }
    }
}
