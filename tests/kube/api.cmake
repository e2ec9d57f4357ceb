# The conformance suite of the transports, in two programs so that they run side by side.
palisade_test(kube_transport_conformance_test
  SOURCES transport_conformance_test.cpp transport_tls_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_transport_stream_test
  SOURCES transport_reuse_test.cpp transport_stream_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_client_test SOURCES client_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_client_integration_test LABEL integration SOURCES client_integration_test.cpp USES palisade_kube_envtest)
palisade_test(kube_config_test SOURCES config_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)

# The example of kube/README.md compiles; nobody runs it.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kube/README.md)
file(READ ${CMAKE_SOURCE_DIR}/kube/README.md readme)
string(REGEX MATCH "```cpp\n([^`]*)```" found "${readme}")
if(NOT found)
  message(FATAL_ERROR "kube/README.md has no example")
endif()
file(CONFIGURE OUTPUT readme_example.cpp CONTENT "${CMAKE_MATCH_1}" @ONLY)
add_executable(kube_readme_example ${CMAKE_CURRENT_BINARY_DIR}/readme_example.cpp)
target_link_libraries(kube_readme_example PRIVATE palisade_options palisade_kube)
