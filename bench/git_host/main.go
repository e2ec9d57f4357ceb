// git_host serves the repositories of a folder over HTTPS, HTTP/1.1 alone: each request is git's own http-backend.
package main

import (
	"crypto/tls"
	"flag"
	"log"
	"net/http"
	"net/http/cgi"
)

func main() {
	address := flag.String("address", "127.0.0.1:8443", "address and port")
	certificate := flag.String("certificate", "", "PEM file of the certificate")
	key := flag.String("key", "", "PEM file of its key")
	backend := flag.String("backend", "", "git-http-backend")
	root := flag.String("root", "", "folder of the repositories")
	flag.Parse()
	handler := &cgi.Handler{Path: *backend, Dir: *root, Env: []string{"GIT_PROJECT_ROOT=" + *root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1"},
		InheritEnv: []string{"PATH", "HOME"}}
	server := &http.Server{Addr: *address, Handler: handler, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}}
	log.Fatal(server.ListenAndServeTLS(*certificate, *key))
}
