// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// TestOutbound_TheFlagsLeadToAServerOfTheCompany goes from the flags to the client that back ends ask with.
func TestOutbound_TheFlagsLeadToAServerOfTheCompany(t *testing.T) {
	company := outboundtest.NewNetwork(t)
	byName, onLoopback := company.Serve(t, "sts.example.com", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	proxy := company.Proxy(t, true)
	authorities := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(authorities, []byte(company.Authority), 0o400); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, url string
		flags     []string
		// words of the failure; empty where the server is reached. asked is how often the proxy is.
		words string
		asked int
	}{
		{"no flag", onLoopback, nil, "certificate signed by unknown authority", 0},
		{"an authority", onLoopback, []string{"--ca-file=" + authorities}, "", 0},
		{"a proxy", byName, []string{"--ca-file", authorities, "--https-proxy", proxy.URL}, "", 1},
		{"a proxy, and a server that is reached without", byName, []string{"--ca-file", authorities, "--https-proxy", proxy.URL, "--no-proxy", "example.com"}, "sts.example.com", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(proxy.Heard())
			o, err := parse(append(tt.flags, log(t)))
			if err != nil {
				t.Fatal(err)
			}
			client, err := o.outbound.Client("", outbound.JSON, outbound.Errors{})
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			response, err := client.Get(tt.url)
			if err == nil {
				_ = response.Body.Close()
			}
			if (err == nil) != (tt.words == "") || err != nil && !strings.Contains(err.Error(), tt.words) {
				t.Errorf("got %v", err)
			}
			if asked := len(proxy.Heard()) - before; asked != tt.asked {
				t.Errorf("the proxy was asked %d times", asked)
			}
		})
	}
}

func TestOutbound_AKeyInTheFileOfAuthoritiesIsNotRepeated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, []byte("-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"), 0o400); err != nil {
		t.Fatal(err)
	}
	_, err := parse([]string{"--ca-file=" + file, log(t)})
	if want := `--ca-file "` + file + `": it holds something else than a certificate as its PEM block 1: take it out`; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// TestOutbound_TheAPIServerIsReachedStraight unless a kubeconfig says otherwise.
func TestOutbound_TheAPIServerIsReachedStraight(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://nobody-named-it.example.com:3128")
	config := &rest.Config{}
	goStraight(config)
	request := &http.Request{URL: &url.URL{Scheme: "https", Host: "10.96.0.1"}}
	if config.Proxy == nil {
		t.Fatal("client-go would ask the environment")
	}
	if by, err := config.Proxy(request); by != nil || err != nil {
		t.Errorf("by %v, %v", by, err)
	}
	named := &rest.Config{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example.com"})}
	goStraight(named)
	if by, err := named.Proxy(request); by == nil || err != nil {
		t.Errorf("the kubeconfig's proxy is put aside: %v", err)
	}
}

// TestOutbound_TheAPIServerLeadsNowhereElse: the operator's token would go along. What it warns of can quote what the
// operator wrote.
func TestOutbound_TheAPIServerLeadsNowhereElse(t *testing.T) {
	followed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		followed = followed || r.URL.Path == "/elsewhere"
		w.Header().Set("Warning", `299 - "hunter2"`)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	t.Cleanup(server.Close)
	said := strings.Builder{}
	klog.LogToStderr(false)
	klog.SetOutput(&said)
	t.Cleanup(func() { klog.LogToStderr(true) })
	config := &rest.Config{Host: server.URL, BearerToken: "a token"}
	goStraight(config)
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkIdentity(t.Context(), clients); err == nil || followed {
		t.Errorf("followed %t, %v", followed, err)
	}
	if klog.Flush(); strings.Contains(said.String(), "hunter2") {
		t.Errorf("it is logged: %s", said.String())
	}
}
