// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"crypto/x509"
)

func TestNoProxyIsAskedAndEveryWaitIsBounded(t *testing.T) {
	client := Client(nil)
	transport := client.Transport.(boundedTransport).Transport
	if transport.Proxy != nil {
		t.Error("a proxy could see an identity's token")
	}
	if client.Timeout != 10*time.Second || transport.TLSHandshakeTimeout == 0 || transport.TLSClientConfig.InsecureSkipVerify || transport.TLSClientConfig.RootCAs != nil {
		t.Errorf("time-outs %s and %s, or TLS that verifies nothing", client.Timeout, transport.TLSHandshakeTimeout)
	}
}

func TestARedirectIsNotFollowedAndAnAnswerIsBounded(t *testing.T) {
	followed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed = true
			return
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = io.WriteString(w, strings.Repeat("x", 2*answerSize))
	}))
	t.Cleanup(server.Close)
	response, err := Client(nil).Post(server.URL, "text/plain", strings.NewReader("a token"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || len(body) != answerSize || followed || response.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("status %d, %d bytes, followed %t, %v", response.StatusCode, len(body), followed, err)
	}
}

func TestOnlyTheAuthoritiesThatAreNamedAreTrusted(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	if _, err := Client(nil).Get(server.URL); !Untrusted(err) {
		t.Errorf("got %v, want a certificate that is not trusted", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	response, err := Client(roots).Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

func TestHowLongToLeaveAServerAlone(t *testing.T) {
	for value, want := range map[string]time.Duration{"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "999999": time.Hour, "99999999999999999999": 0} {
		if got := RetryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}
