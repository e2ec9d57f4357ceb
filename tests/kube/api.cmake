# The conformance suite of the transports, in two programs so that they run side by side.
palisade_test(kube_transport_conformance_test
  SOURCES transport_conformance_test.cpp transport_tls_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_transport_stream_test
  SOURCES transport_reuse_test.cpp transport_stream_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_decode_test SOURCES decode_test.cpp USES palisade_kube nlohmann_json::nlohmann_json)
palisade_test(kube_client_test SOURCES client_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_client_integration_test LABEL integration SOURCES client_integration_test.cpp USES palisade_kube_envtest)
palisade_test(kube_config_test SOURCES config_test.cpp credentials_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_kubeconfig_integration_test LABEL integration SOURCES kubeconfig_integration_test.cpp oidc_integration_test.cpp
  USES palisade_kube_envtest Boost::boost OpenSSL::SSL)
palisade_test(kube_streaming_list_test SOURCES streaming_list_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_proxy_test SOURCES proxy_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL OpenSSL::Crypto)
palisade_test(kube_oidc_test SOURCES oidc_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL yaml-cpp)
palisade_test(kube_patience_test SOURCES patience_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL ZLIB::ZLIB)
# These look at what is kube's own.
target_include_directories(kube_decode_test PRIVATE ${CMAKE_SOURCE_DIR}/kube)
target_include_directories(kube_config_test PRIVATE ${CMAKE_SOURCE_DIR}/kube)
target_include_directories(kube_proxy_test PRIVATE ${CMAKE_SOURCE_DIR}/kube)
target_include_directories(kube_oidc_test PRIVATE ${CMAKE_SOURCE_DIR}/kube)

# The example of kube/README.md compiles, and a test runs it.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kube/README.md)
file(READ ${CMAKE_SOURCE_DIR}/kube/README.md readme)
string(REGEX MATCH "```cpp\n([^`]*)```" found "${readme}")
if(NOT found)
  message(FATAL_ERROR "kube/README.md has no example")
endif()
file(CONFIGURE OUTPUT readme_example.cpp CONTENT "${CMAKE_MATCH_1}" @ONLY)
add_executable(kube_readme_example ${CMAKE_CURRENT_BINARY_DIR}/readme_example.cpp)
target_link_libraries(kube_readme_example PRIVATE palisade_options palisade_kube)
palisade_test(kube_readme_example_test LABEL integration SOURCES readme_example_integration_test.cpp USES palisade_kube_envtest)
add_dependencies(kube_readme_example_test kube_readme_example)
