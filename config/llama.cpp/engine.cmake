# Read inside llama.cpp's own project (CMAKE_PROJECT_INCLUDE) when llama-cpp-python compiles it.

# libllama alone: without the command-line helpers, which the package forces on.
set(LLAMA_BUILD_COMMON OFF)

# Our attention, and the choice of other kernels; see both files. HOUSEVOICE_ENGINE_ID tells builds apart (Makefile).
if(NOT DEFINED HOUSEVOICE_ENGINE_ID)
  set(HOUSEVOICE_ENGINE_ID 0)
endif()
set(HOUSEVOICE_KERNELS "${CMAKE_CURRENT_LIST_DIR}")
if(NOT CMAKE_C_FLAGS MATCHES "kernels.h")
  string(APPEND CMAKE_C_FLAGS " -include \"${HOUSEVOICE_KERNELS}/kernels.h\"")
endif()
function(add_kernels)
  target_sources(ggml-cpu PRIVATE "${HOUSEVOICE_KERNELS}/attention.cpp")
  target_compile_definitions(ggml-cpu PRIVATE HOUSEVOICE_ENGINE_ID=${HOUSEVOICE_ENGINE_ID})
endfunction()
get_property(kernels_are_added GLOBAL PROPERTY HOUSEVOICE_KERNELS)
if(NOT kernels_are_added)
  set_property(GLOBAL PROPERTY HOUSEVOICE_KERNELS ON)
  # The target is defined further down.
  cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL add_kernels)
endif()
