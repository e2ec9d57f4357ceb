// echo answers every AdmissionReview with "allowed" and its uid, and does nothing else: what Go's net/http and encoding/json cost.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
)

type review struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Request    *request `json:"request,omitempty"`
	Response   *verdict `json:"response,omitempty"`
}

type request struct {
	UID string `json:"uid"`
}

type verdict struct {
	UID     string `json:"uid"`
	Allowed bool   `json:"allowed"`
}

func answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var in review
	if err := json.Unmarshal(body, &in); err != nil || in.Request == nil {
		http.Error(w, "not an AdmissionReview", http.StatusBadRequest)
		return
	}
	out, err := json.Marshal(review{APIVersion: in.APIVersion, Kind: in.Kind, Response: &verdict{UID: in.Request.UID, Allowed: true}})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(out); err != nil {
		log.Print(err)
	}
}

func main() {
	address := flag.String("address", "127.0.0.1:8443", "address and port")
	certificate := flag.String("certificate", "", "PEM file of the certificate")
	key := flag.String("key", "", "PEM file of its key")
	flag.Parse()
	http.HandleFunc("/", answer)
	log.Fatal(http.ListenAndServeTLS(*address, *certificate, *key, nil))
}
