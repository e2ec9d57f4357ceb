# Build rules shared by every folder.
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(simdjson REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(Boost 1.74 REQUIRED)
find_package(cpprestsdk REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(CLI11 REQUIRED)

find_program(CCACHE ccache)
if(CCACHE)
  # What one checkout compiled serves every other.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE})
endif()
find_program(LLD ld.lld)
if(LLD)
  add_link_options(-fuse-ld=lld)
endif()

# GCC 12 warns of its own std::regex, std::optional and coroutine internals when optimising under a sanitizer; those
# (-Wmaybe-uninitialized, -Wnull-dereference) stay off. So does -Wsubobject-linkage, which takes a source that a unit includes for a
# header. Everything else is an error.
add_library(palisade_options INTERFACE)
target_compile_options(palisade_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Werror
  -Wno-maybe-uninitialized -Wno-subobject-linkage -fstack-protector-strong -fno-omit-frame-pointer)
target_compile_definitions(palisade_options INTERFACE PALISADE_VERSION="${PROJECT_VERSION}"
  $<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
target_link_options(palisade_options INTERFACE -Wl,-z,relro,-z,now -Wl,--as-needed)
if(PALISADE_SANITIZE)
  target_compile_options(palisade_options INTERFACE -fsanitize=${PALISADE_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(palisade_options INTERFACE -fsanitize=${PALISADE_SANITIZE})
  if(PALISADE_SANITIZE STREQUAL "thread")
    target_compile_options(palisade_options INTERFACE -Wno-tsan)  # Asio's fences, which the sanitizer does not model
  endif()
endif()
if(PALISADE_SANITIZE STREQUAL "address,undefined")
  # The checks of each pointer's value are half of what UBSan costs to compile; a bad pointer is AddressSanitizer's to find here,
  # and the fuzzers keep them. A test's tables are many small objects in one function: optimised and checked by UBSan they take
  # three times as long to compile. What is tested keeps both.
  target_compile_options(palisade_options INTERFACE $<IF:$<BOOL:$<TARGET_PROPERTY:PALISADE_TEST>>,-O0;-fno-sanitize=undefined,-fno-sanitize=null$<COMMA>alignment$<COMMA>object-size$<COMMA>vptr>)
endif()

# palisade_alone(a.cpp ...): compiles these by themselves. The sources of a target are compiled as few units (CMAKE_UNITY_BUILD in the
# presets), since reading headers is most of what a source costs; all of them share one scope then, so one whose private names
# clash with another's stands alone.
function(palisade_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# palisade_library(NAME [STATIC] SOURCES a.cpp ... [USES palisade_policy ...] [PRIVATE_USES ...]): target palisade_NAME whose
# public headers live in NAME/include/NAME/. Only those who link it can include them. STATIC: never a shared object.
function(palisade_library name)
  cmake_parse_arguments(ARG "STATIC" "" "SOURCES;USES;PRIVATE_USES" ${ARGN})
  set(kind STATIC)
  if(PALISADE_SHARED AND NOT ARG_STATIC)
    set(kind SHARED)
  endif()
  add_library(palisade_${name} ${kind} ${ARG_SOURCES})
  target_include_directories(palisade_${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(palisade_${name} PUBLIC ${ARG_USES} PRIVATE palisade_options ${ARG_PRIVATE_USES})
endfunction()

# palisade_program(NAME SOURCES main.cpp USES ...): an executable in bin/.
function(palisade_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;USES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE palisade_options ${ARG_USES})
endfunction()

# palisade_test(NAME SOURCES ... USES ... [LABEL unit|integration] [TIMEOUT seconds]): one GoogleTest program, one ctest entry.
# `integration` tests start the real etcd and kube-apiserver found in PALISADE_TOOLS_BIN.
function(palisade_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;USES" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  set_property(TARGET ${name} PROPERTY PALISADE_TEST ON)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${name} PRIVATE palisade_options ${ARG_USES} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  # A case that skips itself proves nothing: it fails, with its output.
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT} FAIL_REGULAR_EXPRESSION "\\[  SKIPPED \\]"
    ENVIRONMENT "PALISADE_TOOLS_BIN=${CMAKE_SOURCE_DIR}/build/tools/bin;PALISADE_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
endfunction()
