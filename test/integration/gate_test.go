// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// stepOf names what the operator does by a request, in words that tell the places apart at which a crash or a fault costs something
// else. It is empty for what changes nothing: reads, dry runs, questions, and the leader's lease.
func stepOf(r *http.Request, body []byte) string {
	verb, path, subresource := r.Method, strings.Split(strings.Trim(r.URL.Path, "/"), "/"), ""
	if verb == http.MethodGet || r.URL.Query().Get("dryRun") != "" {
		return ""
	}
	kind := ""
	for i, part := range path {
		switch part {
		case "namespaces":
			if i+2 >= len(path) {
				kind = part
			}
		case "serviceaccounts", "capabilityrequests", "capabilitygrants", "secrets", "jobs":
			kind = part
		}
	}
	switch last := path[len(path)-1]; last {
	case "status", "token", "finalizers":
		subresource = last
	}
	switch {
	case kind == "serviceaccounts" && subresource == "token":
		return "asking for a token"
	case kind == "capabilityrequests" && subresource == "status":
		return requestStep(body)
	case kind == "capabilitygrants" && subresource == "status":
		return grantStep(body)
	case kind == "capabilitygrants" && verb == http.MethodPost:
		return "storing the grant"
	case kind == "capabilitygrants":
		return "releasing the grant"
	case kind == "secrets" && verb == http.MethodPost:
		return "storing the Secret"
	case kind == "secrets":
		return "deleting the Secret"
	case kind == "jobs" && bytes.Contains(body, []byte(`"/spec/suspend","value":false`)):
		return "starting the Job"
	case kind == "jobs":
		return "stopping the Job"
	case kind == "namespaces":
		return "marking the namespace"
	default:
		return ""
	}
}

func requestStep(body []byte) string {
	var r v1alpha1.CapabilityRequest
	if json.Unmarshal(body, &r) != nil {
		return "writing a request"
	}
	switch {
	case r.Status.EndedAt != nil:
		return "writing the request's end"
	case r.Status.GrantName != "":
		return "naming the grant"
	case len(r.Status.SeenDecisions) > 0:
		return "having seen a decision"
	case r.Status.Review != nil:
		return "writing the review"
	default:
		return "writing what is waited for"
	}
}

func grantStep(body []byte) string {
	var g v1alpha1.CapabilityGrant
	if json.Unmarshal(body, &g) != nil {
		return "writing a grant"
	}
	switch s := g.Status; {
	case s.EndedAt != nil:
		return "writing the end"
	case s.Revocation != nil:
		return "writing the revocation"
	case s.Stop != nil:
		return "writing why it ends"
	case s.PodsStarted > 0:
		return "counting the Pod"
	case meta.IsStatusConditionTrue(s.Conditions, v1alpha1.ConditionDelivered):
		return "writing the delivery"
	case s.IssuedAt != nil:
		return "writing what was issued"
	default:
		return "beginning an attempt"
	}
}

// fate is what becomes of a request at a gate. The zero fate lets it through.
type fate struct {
	// drop: it never arrives, and the connection breaks.
	drop bool
	// status answers it in the server's stead.
	status int
	// then runs when the server has answered, before the answer goes on.
	then func(status int)
	// lose: the answer never arrives, and the connection breaks.
	lose bool
}

// gate stands between operators and a server that they talk to.
type gate struct {
	server *httptest.Server
	mu     sync.Mutex
	decide func(step string, r *http.Request, body []byte) fate
}

type fateKey struct{}

// nobodysLog takes what a server says of connections that a test broke on purpose.
func nobodysLog() *log.Logger { return log.New(io.Discard, "", 0) }

// newGate lets everything through, until on is told otherwise.
func newGate(t *testing.T, target string, transport http.RoundTripper, encrypted bool) *gate {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, ErrorLog: nobodysLog(),
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(answer *http.Response) error {
			f := answer.Request.Context().Value(fateKey{}).(fate)
			if f.then != nil {
				f.then(answer.StatusCode)
			}
			if f.lose {
				return errors.New("lost")
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	g.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(proxy, w, r) }))
	g.server.Config.ErrorLog = nobodysLog()
	if encrypted {
		g.server.StartTLS()
	} else {
		g.server.Start()
	}
	t.Cleanup(func() {
		g.server.CloseClientConnections()
		g.server.Close()
	})
	return g
}

func (g *gate) serve(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mu.Lock()
	decide := g.decide
	g.mu.Unlock()
	f := fate{}
	if decide != nil {
		f = decide(stepOf(r, body), r, body)
	}
	switch {
	case f.drop:
		panic(http.ErrAbortHandler)
	case f.status != 0:
		answer(w, f.status)
	default:
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), fateKey{}, f)))
	}
}

// answer is what an API server says that is overloaded, behind, or broken.
func answer(w http.ResponseWriter, status int) {
	reason := map[int]metav1.StatusReason{http.StatusConflict: metav1.StatusReasonConflict, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
		http.StatusInternalServerError: metav1.StatusReasonInternalError}[status]
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status: metav1.StatusFailure, Reason: reason, Message: "a fault of the test's", Code: int32(status)})
}

// on decides from now on.
func (g *gate) on(decide func(step string, r *http.Request, body []byte) fate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.decide = decide
}

// apiGate stands before the API server.
func (w *world) apiGate(t *testing.T) *gate {
	t.Helper()
	config := rest.AnonymousClientConfig(w.adminConfig)
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return newGate(t, config.Host, transport, true)
}

// stsGate stands before the real STS.
func (w *world) stsGate(t *testing.T) *gate {
	t.Helper()
	return newGate(t, w.cluster.AWS().Endpoint, &http.Transport{Proxy: nil}, false)
}

// kubeconfig is the operator's own, through the gate.
func (g *gate) kubeconfig(t *testing.T, w *world) string {
	t.Helper()
	path, err := w.operatorKubeconfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.CertificateAuthority = g.server.URL, ""
		cluster.CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.server.Certificate().Raw})
	}
	path = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}
