palisade_test(kube_transport_conformance_test
  SOURCES transport_conformance_test.cpp transport_reuse_test.cpp transport_stream_test.cpp transport_tls_test.cpp
  USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_client_test SOURCES client_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
palisade_test(kube_client_integration_test LABEL integration SOURCES client_integration_test.cpp USES palisade_kube_envtest)
palisade_test(kube_config_test SOURCES config_test.cpp USES palisade_kube Boost::boost OpenSSL::SSL)
