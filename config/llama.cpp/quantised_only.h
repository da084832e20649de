/* Put in front of each C file of llama.cpp. llamafile's kernels multiply two or more rows of a batch at once. With
 * quantised weights they give the same bits as one row alone. With floats (a LoRA's matrices) they do not, and an answer
 * would depend on how many others are in its batch, so those are left to ggml. */
#if defined(GGML_USE_LLAMAFILE) && __has_include("llamafile/sgemm.h")
#include "llamafile/sgemm.h"
#define llamafile_sgemm(params, ...) (ggml_is_quantized(src0->type) && llamafile_sgemm(params, __VA_ARGS__))

/* So that a library that was compiled otherwise can be told by its symbols. */
__attribute__((weak, used)) const int housevoice_quantised_only = 1;
#endif
