/* Put in front of each C file of llama.cpp: which kernels it calls. */

/* Attention is attention.cpp's. */
#define ggml_compute_forward_flash_attn_ext housevoice_flash_attn_ext

/* llamafile's kernels multiply two or more rows of a batch at once, and llama.cpp calls them for two or more alone. With
 * quantised weights they give the same bits as ggml gives for one row. With floats they do not, and an answer would
 * depend on how many others are in its batch. So of the floats only a LoRA's matrices go there (with ggml, which
 * computes each number apart, they make prompts a third slower), and a single row goes there too: as two that are the
 * same row. */
#if defined(GGML_USE_LLAMAFILE) && __has_include("llamafile/sgemm.h")
#include "ggml.h"
struct ggml_compute_params;
#include "llamafile/sgemm.h"

enum { HOUSEVOICE_MAX_RANK = 256 };

static inline bool housevoice_sgemm(const struct ggml_tensor * weights, const struct ggml_compute_params * params,
                                    int64_t m, int64_t n, int64_t k, const void * a, int64_t lda, const void * b,
                                    int64_t ldb, void * c, int64_t ldc, int a_type, int b_type, int c_type) {
    if (!ggml_is_quantized(weights->type)) {
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
        if (weights->ne[0] > HOUSEVOICE_MAX_RANK && weights->ne[1] > HOUSEVOICE_MAX_RANK) {
            return false;
        }
        if (n == 1) {
            return llamafile_sgemm(params, m, 2, k, a, lda, b, 0, c, 0, a_type, b_type, c_type);
        }
#else
        return false;  /* other processors' kernels begin at four or eight rows */
#endif
    }
    return llamafile_sgemm(params, m, n, k, a, lda, b, ldb, c, ldc, a_type, b_type, c_type);
}

#define llamafile_sgemm(...) housevoice_sgemm(src0, __VA_ARGS__)
#endif
