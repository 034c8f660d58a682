// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// TestBehindAProxyACredentialIsIssuedAndEnds: the operator reaches an STS that has a certificate of a company's own
// authority by that company's proxy, and the API server without any.
func TestBehindAProxyACredentialIsIssuedAndEnds(t *testing.T) {
	company := outboundtest.NewNetwork(t)
	real, err := url.Parse(stage.cluster.AWS().Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	sts, _ := company.Serve(t, "sts.company.example", httputil.NewSingleHostReverseProxy(real))
	proxy := company.Proxy(t, true)
	authorities := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(authorities, []byte(company.Authority), 0o400); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // would lead nowhere
	j := alone(t, "behind-a-proxy", stage.ownOperator(t, "--aws-endpoint="+sts, "--https-proxy="+proxy.URL, "--ca-file="+authorities))
	j.allow()
	j.provider(sts)
	j.capability(j.name, j.role())
	j.ask()
	j.awaitDelivered()
	j.finish(corev1.PodSucceeded)
	j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	heard := proxy.Heard()
	if len(heard) == 0 || slices.ContainsFunc(heard, func(all string) bool { return !strings.HasPrefix(all, "CONNECT sts.company.example:443 ") }) {
		t.Errorf("the proxy heard %q", heard)
	}
}
