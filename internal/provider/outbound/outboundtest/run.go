// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package outboundtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
)

// host of the server that back ends are tried with.
const host = "backend.example.com"

// BackEnd is one that is tried.
type BackEnd struct {
	// Server answers what the back end asks.
	Server http.Handler
	// New makes the back end, of an operator that allows the URL of its servers.
	New func(t *testing.T, url string, way outbound.Settings) provider.Provider
	// Lease is of a provider whose servers are all at a URL.
	Lease func(url, bundle string) provider.Lease
	// Ends is how a credential ends there.
	Ends v1alpha1.RevocationMode
	// Clock is the present time.
	Clock clock.PassiveClock
}

// use issues a credential, and ends it by what the grant keeps of it, after the provider is gone.
func (b BackEnd) use(t *testing.T, url, bundle string, way outbound.Settings) error {
	t.Helper()
	p, l := b.New(t, url, way), b.Lease(url, bundle)
	if err := p.CheckProvider(l.Provider); err != nil {
		t.Errorf("the provider is not ready: %v", err)
	}
	handle := p.Handle(l)
	l.Handle = handle
	l.Keep = func(_ context.Context, kept string) error {
		handle = kept
		return nil
	}
	if _, err := p.Issue(t.Context(), l); err != nil {
		return err
	}
	*l.Provider = v1alpha1.CapabilityProvider{}
	revoked, err := p.Revoke(t.Context(), l.Issued(handle, b.Clock.Now().Add(time.Hour)))
	if err == nil && revoked.Mode != b.Ends {
		err = fmt.Errorf("it ended %s, not %s", revoked.Mode, b.Ends)
	}
	return err
}

// row is one way to a server.
type row struct {
	name string
	// straight reaches the server at its address on loopback.
	straight bool
	// proxy is the one that is named, nil for none.
	proxy *Proxy
	// trusted is what the operator trusts beside the system's, and bundle what the provider does.
	trusted *Network
	bundle  string
	// refusal is why nothing is sent; empty where the back end is reached.
	refusal string
}

// Run tries a back end on every way to its servers, good and bad, and with servers that answer oddly.
func Run(t *testing.T, b BackEnd) {
	t.Helper()
	company, others := NewNetwork(t), NewNetwork(t)
	var asked atomic.Int64
	byName, onLoopback := company.Serve(t, host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		b.Server.ServeHTTP(w, r)
	}))
	b.expectBadBundleRefused(t, byName)
	b.expectNothingPrinted(t)
	for _, r := range rows(t, company, others) {
		t.Run(r.name, func(t *testing.T) {
			asked.Store(0)
			url, way := byName, outbound.Settings{}
			if r.straight {
				url = onLoopback
			}
			if r.trusted != nil {
				way.Authorities = r.trusted.Pool()
			}
			if r.proxy != nil {
				way.Proxy = outbound.Proxy(r.proxy.URL, nil)
			}
			r.expect(t, b.use(t, url, r.bundle, way), asked.Load())
		})
	}
}

// expectBadBundleRefused: what cannot be read is said before anything is issued.
func (b BackEnd) expectBadBundleRefused(t *testing.T, url string) {
	t.Helper()
	p, l := b.New(t, url, outbound.Settings{}), b.Lease(url, "hunter2")
	const words = "caBundle holds no certificate in PEM"
	problem := (*provider.NotReadyError)(nil)
	if err := p.CheckProvider(l.Provider); !errors.As(err, &problem) || err.Error() != words {
		t.Errorf("the provider is ready: %v", err)
	}
	if _, err := p.Issue(t.Context(), l); !provider.IsFinal(err) || !provider.IsRefused(err) || err.Error() != words {
		t.Errorf("it was issued: %v", err)
	}
}

func rows(t *testing.T, company, others *Network) []row {
	const unknown = "is not one that the operator trusts (caBundle, --ca-file); nothing was sent"
	plain := func() *Proxy { return company.Proxy(t, false) }
	encrypted := func() *Proxy { return company.Proxy(t, true) }
	return []row{
		{name: "straight, by the provider's authority", straight: true, bundle: company.Authority},
		{name: "straight, by the operator's authority", straight: true, trusted: company},
		{name: "straight, for it is on loopback", straight: true, trusted: company, proxy: plain()},
		{name: "by a proxy and the operator's authority", trusted: company, proxy: plain()},
		{name: "by a proxy and the provider's authority", bundle: company.Authority, proxy: plain()},
		{name: "by an encrypted proxy", trusted: company, proxy: encrypted()},
		{name: "by an encrypted proxy and the provider's authority", trusted: company, bundle: company.Authority, proxy: encrypted()},
		{name: "straight, by nobody's authority", straight: true, refusal: unknown},
		{name: "by a proxy and nobody's authority", proxy: plain(), refusal: unknown},
		{name: "by the authority of another provider", straight: true, trusted: company, bundle: others.Authority, refusal: unknown},
		{name: "by an encrypted proxy that only the provider's authority signed for", bundle: company.Authority, proxy: encrypted(),
			refusal: "the certificate of the proxy of --https-proxy is not one that the operator trusts (--ca-file); nothing was sent"},
		{name: "by a proxy that wants a password", trusted: company, proxy: &Proxy{URL: answering(t, company, http.StatusProxyAuthRequired)},
			refusal: "by status 407; nothing was sent"},
		{name: "by a proxy that leads elsewhere", trusted: company, proxy: &Proxy{URL: answering(t, company, http.StatusFound)},
			refusal: "by status 302; nothing was sent"},
		{name: "by a proxy that is away", trusted: company, proxy: &Proxy{URL: "http://127.0.0.1:1"},
			refusal: "the proxy of --https-proxy cannot be reached; nothing was sent"},
	}
}

// answering is the URL of a proxy that answers everybody with one status.
func answering(t *testing.T, n *Network, status int) string {
	p := n.Proxy(t, false)
	p.Status = status
	return p.URL
}

func (r row) expect(t *testing.T, err error, asked int64) {
	t.Helper()
	switch {
	case r.refusal == "" && (err != nil || asked == 0):
		t.Errorf("asked %d times: %v", asked, err)
	case r.refusal != "" && (asked != 0 || !provider.IsRefused(err) || !provider.IsRetryable(err) || !strings.HasSuffix(err.Error(), r.refusal)):
		t.Errorf("asked %d times: %v", asked, err)
	}
	if r.proxy == nil || r.proxy.network == nil {
		return
	}
	heard := r.proxy.Heard()
	if r.straight && len(heard) > 0 || r.refusal == "" && !r.straight && len(heard) == 0 {
		t.Errorf("the proxy was asked %d times", len(heard))
	}
	for _, all := range heard {
		if all != "CONNECT "+host+":443 HTTP/1.1\nHost: "+host+":443\nUser-Agent: Go-http-client/1.1\n\n" {
			t.Errorf("the proxy could read\n%s", all)
		}
	}
}
