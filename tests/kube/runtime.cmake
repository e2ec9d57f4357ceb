palisade_test(kube_cache_test SOURCES cache_test.cpp USES palisade_kube)
palisade_test(kube_workqueue_test SOURCES workqueue_test.cpp USES palisade_kube)
palisade_test(kube_http_server_test SOURCES http_server_test.cpp USES palisade_kube_envtest OpenSSL::SSL)
palisade_test(kube_envtest_test LABEL integration SOURCES envtest_test.cpp USES palisade_kube_envtest)
