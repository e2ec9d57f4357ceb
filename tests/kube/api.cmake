palisade_test(kube_transport_conformance_test
  SOURCES transport_conformance_test.cpp transport_reuse_test.cpp transport_stream_test.cpp transport_tls_test.cpp
  USES palisade_kube Boost::boost OpenSSL::SSL)
