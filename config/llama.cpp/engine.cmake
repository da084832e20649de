# Read inside llama.cpp's own project (CMAKE_PROJECT_INCLUDE) when llama-cpp-python compiles it.

# libllama alone: without the command-line helpers, which the package forces on.
set(LLAMA_BUILD_COMMON OFF)

# llamafile's kernels for quantised weights only; see the header.
if(NOT CMAKE_C_FLAGS MATCHES "quantised_only")
  string(APPEND CMAKE_C_FLAGS " -include \"${CMAKE_CURRENT_LIST_DIR}/quantised_only.h\"")
endif()
