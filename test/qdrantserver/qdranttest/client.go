package qdranttest

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
)

// clientFor trusts the authority in the file, if there is one.
func clientFor(ca string) (*http.Client, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 16}
	if ca != "" {
		text, err := os.ReadFile(ca) // #nosec G304: written by the server
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	return &http.Client{Transport: t}, nil
}

func escape(name string) string { return url.PathEscape(name) }
