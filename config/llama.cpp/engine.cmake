# Read inside llama.cpp's own project (CMAKE_PROJECT_INCLUDE) when llama-cpp-python compiles it.

# libllama alone: without the command-line helpers, which the package forces on.
set(LLAMA_BUILD_COMMON OFF)

# Which products llamafile's kernels compute; see the header.
if(NOT CMAKE_C_FLAGS MATCHES "matching_kernels")
  string(APPEND CMAKE_C_FLAGS " -include \"${CMAKE_CURRENT_LIST_DIR}/matching_kernels.h\"")
endif()
