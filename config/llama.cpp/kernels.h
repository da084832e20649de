/* Put in front of each C file of llama.cpp: which kernels it calls.
 *
 * llamafile's kernels multiply two or more rows of a batch at once. With quantised weights they give the same bits as
 * one row alone. With floats (a LoRA's matrices) they do not, and an answer would depend on how many others are in its
 * batch, so those are left to ggml. */
#if defined(GGML_USE_LLAMAFILE) && __has_include("llamafile/sgemm.h")
#include "llamafile/sgemm.h"
#define llamafile_sgemm(params, ...) (ggml_is_quantized(src0->type) && llamafile_sgemm(params, __VA_ARGS__))
#endif

/* Attention is attention.cpp's. */
#define ggml_compute_forward_flash_attn_ext housevoice_flash_attn_ext
